// What a gallery looks like: a grid or a strip of tiles, one large picture, or a mosaic.

/** @import { Item, View } from "./types.js" */

import { queued } from "./decisions.js";
import { open, send } from "./messages.js";
import { focused, markSelected, selectRange, toggle } from "./selection.js";
import { enlarge } from "./zoom.js";

/**
 * Replace what the gallery shows.
 * @param {View} view
 * @param {boolean} sameTiles whether focus and selection still hold
 */
export function build(view, sameTiles) {
  const { root, data } = view;
  root.className = `gallery ${data.layout}`;
  root.style.setProperty("--size", `${data.size}px`);
  root.onclick = root.onfocus = null;
  if (data.layout === "picture" || data.layout === "mosaic") {
    const shown = data.queue ? [queued(view)?.item].filter((item) => item !== undefined) : data.items;
    root.replaceChildren(...shown.map((item) => picture(item)), ...shown.filter((item) => item.note).map(noteOf));
    if (data.layout === "picture" && shown.some((item) => item.src)) addEnlarging(view);
    if (data.layout === "mosaic") root.onclick = () => send(view, "opened", { id: "" });
    return;
  }
  root.setAttribute("role", "listbox");
  root.setAttribute("aria-label", data.name);
  root.setAttribute("aria-multiselectable", String(data.selectable));
  view.focused = sameTiles ? Math.min(view.focused, Math.max(0, data.items.length - 1)) : 0;
  root.replaceChildren(...data.items.map((item, index) => tile(view, item, index)));
  markSelected(view);
}

/**
 * Return the image, or the text of an example without one.
 * @param {Item} item
 */
export function picture(item) {
  if (item.text) {
    const words = element("div", "text");
    words.textContent = item.text;
    words.setAttribute("aria-label", item.alt);
    words.setAttribute("role", "group");
    return words;
  }
  const image = document.createElement("img");
  image.alt = item.alt;
  image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= 64);
  image.src = item.src;
  image.draggable = false;
  return image;
}

/**
 * Have a click on the picture, or on a button over its corner, open it at full size.
 * @param {View} view
 */
function addEnlarging(view) {
  const button = element("button", "enlarge", "⤢");
  button.setAttribute("aria-label", "Full size");
  button.title = "Full size (z)";
  button.onclick = () => enlarge(view);
  const image = view.root.querySelector("img");
  if (image) image.onclick = button.onclick;
  view.root.append(button);
}

/** @param {Item} item */
function noteOf(item) {
  const note = element("div", "note", item.note);
  note.setAttribute("aria-hidden", "true"); // the image's alt text and the page beside it say it
  return note;
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) {
    node.textContent = text;
    node.title = text;
  }
  return node;
}

/**
 * A tile is a link, so that the browser's own ways to open and copy one work.
 * @param {View} view
 * @param {Item} item
 * @param {number} index
 */
function tile(view, item, index) {
  const node = /** @type {HTMLAnchorElement} */ (element("a", `tile ${item.decision}`));
  node.setAttribute("role", "option");
  if (item.href) node.href = [item.href, view.data.query].filter(Boolean).join("&");
  node.draggable = false;
  node.tabIndex = index === view.focused ? 0 : -1;
  if (item.text) node.setAttribute("aria-label", `${item.alt}: ${item.text}`);
  const frame = element("div", "frame");
  frame.append(picture(item));
  if (item.badge) frame.append(element("span", "badge", item.badge));
  if (item.split) {
    const split = element("span", "split", item.split);
    split.setAttribute("aria-hidden", "true"); // the image's alt text says it
    frame.append(split);
  }
  if (item.note) frame.append(element("span", "note", item.note));
  if (view.data.selectable) {
    const check = element("span", "check", "✓");
    check.title = "Select (space, or ctrl-click)";
    check.setAttribute("aria-hidden", "true");
    frame.append(check);
  }
  node.append(frame);
  if (view.data.captions) node.append(captionOf(item));
  node.onclick = (event) => clicked(view, index, event);
  node.onfocus = () => focused(view, index);
  return node;
}

/** @param {Item} item */
function captionOf(item) {
  const caption = element("div", "caption");
  caption.setAttribute("aria-hidden", "true"); // the image's alt text contains all of it
  caption.append(
    element("span", `score ${item.tone}`, item.score),
    element("span", "aside", item.aside),
    element("span", "label", item.label),
    element("span", "predicted", item.predicted),
  );
  if (item.tags) caption.append(element("span", "tags", item.tags));
  return caption;
}

/**
 * Select, open, or leave it to the browser, which opens links in another tab or window.
 * @param {View} view
 * @param {number} index
 * @param {MouseEvent} event
 */
function clicked(view, index, event) {
  const { selectable } = view.data;
  const ticked = event.target instanceof Element && event.target.classList.contains("check");
  if (selectable && (ticked || event.ctrlKey || event.metaKey)) {
    toggle(view, index);
  } else if (selectable && event.shiftKey) {
    selectRange(view, index);
  } else if (event.ctrlKey || event.metaKey || event.shiftKey) {
    return;
  } else {
    open(view, index);
  }
  event.preventDefault();
}
