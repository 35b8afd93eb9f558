// The clickable gallery. Python sends items; these modules send back:
//   opened   {id}           a tile was clicked, or Enter pressed on it
//   pressed  {action, ids}  a key of data.keys was pressed that decides nothing
//   skipped  {ids}          examples of a queue that were skipped
//   decided  {version, told}  decisions were saved (they go to data.decisions, not through Streamlit)
//   focused  {id, keys}     the tile with the keyboard focus, and whether it has it by a key (when data.reports_focus)
//   selected {ids, number}  ctrl-click, the check box or Space (when data.selectable); with everywhere, on other pages too
// Text from the data reaches the page through textContent and attributes only, never as HTML.

/** @import { Component, View } from "./types.js" */

import { acknowledge, goOn, outboxOf, queued } from "./decisions.js";
import { pressAgain, pressed } from "./keys.js";
import { adoptSelection, focusTile, reveal } from "./selection.js";
import { build } from "./tiles.js";

/** @type {WeakMap<HTMLElement, View>} */
const views = new WeakMap();

/**
 * Draw the gallery; Streamlit calls this whenever the page has run.
 * @param {Component} component
 */
export default function draw(component) {
  const { data, parentElement } = component;
  const root = /** @type {HTMLElement} */ (parentElement.querySelector(".gallery"));
  const view = views.get(root) ?? viewOf(root, component);
  views.set(root, view);
  Object.assign(view, { data, component, outbox: outboxOf(data.decisions), busy: -Infinity });
  if (data.queue) acknowledge(view);
  // Rebuilding the tiles loses the keyboard focus, so it happens only when they change.
  const signature = signatureOf(view);
  if (signature !== view.signature) {
    const ids = JSON.stringify(data.items.map((item) => item.id));
    const sameTiles = view.ids === ids;
    const hadFocus = root.contains(activeIn(parentElement));
    Object.assign(view, { signature, ids });
    if (!sameTiles) view.selection = undefined;
    build(view, sameTiles);
    if (hadFocus) focusTile(view, view.focused);
    else if (data.layout === "picture") reveal();
  }
  adoptSelection(view);
  if (view.returns !== undefined && view.returns !== data.returns) focusTile(view, view.focused);
  view.returns = data.returns;
  view.listening?.abort(); // this function runs at every redraw and must not add a listener each time
  const listening = new AbortController();
  view.listening = listening;
  // Page-wide keys are caught before Streamlit sees them, since it uses "r" and "c" itself.
  const target = /** @type {EventTarget} */ (data.page_keys ? document : root);
  const listener = (/** @type {Event} */ event) => pressed(view, /** @type {KeyboardEvent} */ (event));
  target.addEventListener("keydown", listener, { capture: true, signal: listening.signal });
  if (data.queue) goOn(view);
  pressAgain(view);
  return () => view.listening?.abort();
}

/**
 * @param {HTMLElement} root
 * @param {Component} component
 * @returns {View}
 */
function viewOf(root, component) {
  const { data } = component;
  const outbox = outboxOf(data.decisions);
  const nothing = { signature: "", ids: "", focused: 0, busy: -Infinity, timer: 0, waiting: null, redrawing: false };
  const empty = { selected: new Set(), selections: 0, skipped: new Set(), later: [], told: [] };
  return { root, data, component, outbox, ...nothing, ...empty };
}

/** @param {View} view */
function signatureOf(view) {
  const { data } = view;
  return JSON.stringify([data.queue ? queued(view)?.item : data.items, data.layout, data.size]);
}

/** @param {HTMLElement | ShadowRoot} parent */
function activeIn(parent) {
  return parent instanceof ShadowRoot ? parent.activeElement : document.activeElement;
}
