// Messages to Python.

/** @import { View } from "./types.js" */

export const ANSWER_MS = 800;

/**
 * Send one message at a time: a second key press before the answer would act on the example that is about to go.
 * @param {View} view
 * @param {string} name
 * @param {unknown} value
 * @returns {boolean} whether it was sent
 */
export function send(view, name, value) {
  clearTimeout(view.timer); // the page that opens does not need the previous focus
  view.untold = undefined;
  const now = performance.now();
  if (now - view.busy < ANSWER_MS) return false;
  view.busy = now;
  view.component.setTriggerValue(name, value);
  return true;
}

/**
 * Open a tile. Another page or example follows, and the keys act on that one: these tiles must not answer them until
 * they go.
 * @param {View} view
 * @param {number} index
 */
export function open(view, index) {
  const node = /** @type {HTMLElement | undefined} */ (view.root.children[index]);
  if (send(view, "opened", { id: view.data.items[index].id })) node?.blur();
}
