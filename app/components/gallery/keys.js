// The keyboard: keys that act, and keys that move among tiles.

/** @import { View } from "./types.js" */

import { decide, decideNext, isDecision, isUndoing, queued } from "./decisions.js";
import { ANSWER_MS, open, send } from "./messages.js";
import { focusTile, select, tellFocus, tilesOf, toggle } from "./selection.js";
import { enlarge } from "./zoom.js";

const ENLARGE = "z";
const STEPS = new Set(["previous", "next"]); // actions that decide nothing about an example

/**
 * Answer a pressed key.
 * @param {View} view
 * @param {KeyboardEvent} event
 */
export function pressed(view, event) {
  if (!view.root.isConnected || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
  const { data } = view;
  if (data.page_keys && event.key.length > 1 && isAmongTiles(event)) return;
  if (data.page_keys && event.key === "Escape" && !isInDrawer(event)) return;
  if (data.page_keys && event.key === "Enter" && event.composedPath()[0] !== document.body) return; // it presses a button
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = clears(view, key) ? undefined : data.keys[key];
  if (data.queue && (queued(view)?.keys[key] || (isUndoing(view) && action))) {
    decideNext(view, key);
  } else if (action) {
    press(view, action);
  } else if (key === ENLARGE && data.page_keys && enlarge(view)) {
    // the dialog has the keys now
  } else if (data.page_keys || !navigate(view, event)) {
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
}

/**
 * Take a key that was pressed too early and waited for the answer. It counts if it only steps or if the examples are
 * still the same: next, then back work in a row.
 * @param {View} view
 */
export function pressAgain(view) {
  const { waiting } = view;
  view.waiting = null;
  if (waiting && performance.now() < waiting.until && (waiting.ids === view.ids || STEPS.has(waiting.action))) {
    press(view, waiting.action);
  }
}

/**
 * @param {View} view
 * @param {string} action
 */
function press(view, action) {
  const focusedId = view.data.items[view.focused]?.id;
  // Where other pages of tiles have the selection, Python knows it.
  const single = view.data.elsewhere ? [] : [focusedId].filter((id) => id !== undefined);
  const ids = view.selected.size ? [...view.selected] : single;
  if (action === "back") {
    goBack();
    return;
  }
  if (view.data.decisions && isDecision(action) && !view.data.elsewhere) {
    decide(view, action, action === "undo" && !view.data.undoes_own ? [] : ids);
    return;
  }
  tellFocus(view);
  const sent = send(view, "pressed", { action, ids });
  view.waiting = sent ? null : { action, ids: view.ids, until: performance.now() + ANSWER_MS };
}

// Follow the last link of the trail, which knows where the page before is and needs no answer of the server.
function goBack() {
  const links = document.querySelectorAll(".st-key-trail a");
  /** @type {HTMLElement | undefined} */ (links[links.length - 1])?.click();
}

/**
 * Letters belong to the text field, the open menu or the dialog that has the focus.
 * @param {KeyboardEvent} event
 */
function isTyping(event) {
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return false;
  return target.matches("input, textarea, select, [contenteditable=true]") || Boolean(target.closest("[role=dialog], dialog"));
}

/**
 * Arrow keys belong to the tiles that have the focus, even where the page uses them too.
 * @param {KeyboardEvent} event
 */
function isAmongTiles(event) {
  const target = event.composedPath()[0];
  return target instanceof Element && Boolean(target.closest("[role=listbox]"));
}

/**
 * Escape belongs to what it closes.
 * @param {KeyboardEvent} event
 */
function isInDrawer(event) {
  const path = event.composedPath();
  return path[0] === document.body || path.some((node) => node instanceof Element && node.matches(".st-key-drawer"));
}

/**
 * Return whether a key ends the selection, before it closes anything.
 * @param {View} view
 * @param {string} key
 */
function clears(view, key) {
  return key === "Escape" && view.data.selectable && (view.selected.size > 0 || view.data.elsewhere);
}

/**
 * Move among the tiles, open or select one.
 * @param {View} view
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key did something
 */
function navigate(view, event) {
  const { items, selectable } = view.data;
  const tiles = tilesOf(view);
  const columns = Math.max(1, tiles.filter((node) => node.offsetTop === tiles[0].offsetTop).length);
  const last = items.length - 1;
  /** @type {Record<string, number>} */
  const targets = {
    ArrowLeft: view.focused - 1,
    ArrowRight: view.focused + 1,
    ArrowUp: view.focused - columns,
    ArrowDown: view.focused + columns,
    Home: 0,
    End: last,
  };
  if (event.key === "Enter") {
    open(view, view.focused);
  } else if (event.key === " " && selectable) {
    toggle(view, view.focused);
  } else if (clears(view, event.key)) {
    select(view, [], true);
  } else if (event.key in targets) {
    focusTile(view, Math.min(last, Math.max(0, targets[event.key])));
  } else {
    return false;
  }
  return true;
}
