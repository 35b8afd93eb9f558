// The focused and the selected tiles.

/** @import { View } from "./types.js" */

const SETTLED_MS = 150;

/** @type {View | undefined} */
let latest; // the tiles that had the focus last, of those that report it

/**
 * Note that a tile has the focus.
 * @param {View} view
 * @param {number} index
 */
export function focused(view, index) {
  const tiles = tilesOf(view);
  if (tiles[view.focused]) tiles[view.focused].tabIndex = -1;
  tiles[index].tabIndex = 0;
  view.focused = index;
  if (!view.data.reports_focus) return;
  latest = view;
  clearTimeout(view.timer);
  const id = view.data.items[index]?.id;
  const keys = tiles[index].matches(":focus-visible");
  // Holding down an arrow key must not cause a rerun for each tile it passes.
  view.untold = () => view.component.setStateValue("focused", id === undefined ? null : { id, keys });
  view.timer = setTimeout(() => tellFocus(view), SETTLED_MS);
}

/** Scroll the tile with the keyboard's focus into sight, once its details lie over the lower tiles. */
export function reveal() {
  const node = latest && tilesOf(latest)[latest.focused];
  if (node?.matches(":focus-visible")) node.scrollIntoView({ block: "nearest" });
}

/**
 * Tell Python now which tile has the focus, if it does not know yet.
 * @param {View} view
 */
export function tellFocus(view) {
  clearTimeout(view.timer);
  view.untold?.();
  view.untold = undefined;
}

/**
 * Move the focus to a tile.
 * @param {View} view
 * @param {number} index
 */
export function focusTile(view, index) {
  const node = tilesOf(view)[index];
  if (!node) return;
  node.focus({ preventScroll: true });
  node.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/**
 * @param {View} view
 * @param {number} index
 */
export function toggle(view, index) {
  const { id } = view.data.items[index];
  const selected = new Set(view.selected);
  if (!selected.delete(id)) selected.add(id);
  view.anchor = index;
  select(view, selected);
}

/**
 * Select the tiles between the last one selected by itself and another.
 * @param {View} view
 * @param {number} index
 */
export function selectRange(view, index) {
  const anchor = view.anchor ?? view.focused;
  const [first, last] = [Math.min(anchor, index), Math.max(anchor, index)];
  select(view, [...view.selected, ...view.data.items.slice(first, last + 1).map((item) => item.id)]);
}

/**
 * Replace the selection.
 * @param {View} view
 * @param {Iterable<string>} ids
 * @param {boolean} [everywhere] whether it replaces that of other pages of tiles, too
 */
export function select(view, ids, everywhere = false) {
  view.selected = new Set(ids);
  markSelected(view);
  view.selections += 1; // Python sees an equal selection again, after it had another one
  const number = `${performance.timeOrigin}-${view.selections}`;
  view.component.setStateValue("selected", { ids: [...view.selected], everywhere, number });
}

/**
 * Show what Python has selected: on new tiles, and after it has changed the selection itself.
 * @param {View} view
 */
export function adoptSelection(view) {
  const { data } = view;
  if (!data.selectable || view.selection === data.selection) return;
  view.selection = data.selection;
  view.selected = new Set(data.selected);
  markSelected(view);
}

/** @param {View} view */
export function markSelected(view) {
  const tiles = tilesOf(view);
  view.data.items.forEach((item, index) => {
    tiles[index]?.setAttribute("aria-selected", String(view.selected.has(item.id)));
  });
}

/**
 * @param {View} view
 * @returns {HTMLElement[]}
 */
export function tilesOf(view) {
  return /** @type {HTMLElement[]} */ ([...view.root.children]);
}
