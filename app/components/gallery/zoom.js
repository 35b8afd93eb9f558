// The dialog with a picture at full size: the wheel and + - zoom, dragging and the arrow keys move it, Escape closes it.

/** @import { View } from "./types.js" */

import { queued } from "./decisions.js";
import { element } from "./tiles.js";

const STEP = 1.25;
const [LEAST, MOST] = [0.02, 64];
const PAN = 60; // pixels that an arrow key moves the picture by
const FAILED = "The original cannot be shown. The picture that the run keeps:";
const SHARP = 3; // from this scale on, pixels are squares

/**
 * Open the dialog with the picture that a gallery shows large.
 * @param {View} view
 * @returns {boolean} whether it shows one
 */
export function enlarge(view) {
  const { data, root } = view;
  const item = data.queue ? queued(view)?.item : data.items[0];
  if (data.layout !== "picture" || !item?.src || root.parentNode?.querySelector("dialog")) return false;
  const dialog = /** @type {HTMLDialogElement} */ (element("dialog", "zoom"));
  dialog.setAttribute("aria-label", "Picture at full size");
  const stage = element("div", "stage");
  const image = document.createElement("img");
  const words = element("span", "words");
  let source = item.source ?? "";
  words.setAttribute("role", "status");
  const bar = element("div", "bar");
  stage.append(image);
  dialog.append(stage, bar);
  root.parentNode?.append(dialog); // beside the gallery, whose own parts are replaced when the page is drawn anew
  const move = movable(stage, image, (scale) => {
    const size = `${image.naturalWidth.toLocaleString("en")} × ${image.naturalHeight.toLocaleString("en")} pixels`;
    words.textContent = `${source} ${size}, at ${Math.round(scale * 100)}%`.trim();
  });
  bar.append(
    words,
    button("−", "Zoom out", () => move.zoom(1 / STEP)),
    button("+", "Zoom in", () => move.zoom(STEP)),
    button("100%", "Actual size", () => move.actual()),
    button("Fit", "Fit to the window", () => move.fit()),
    button("Close", "Close", () => dialog.close()),
  );
  dialog.onclose = () => dialog.remove(); // and the focus goes back to where it was
  dialog.onkeydown = (event) => {
    if (move.key(event.key)) event.preventDefault();
    event.stopPropagation(); // other keys of the page are about what lies behind
  };
  image.alt = item.alt;
  image.draggable = false;
  image.onerror = () => {
    if (source === FAILED) return;
    source = FAILED;
    image.src = item.src;
  };
  image.src = item.full || item.src;
  dialog.showModal();
  return true;
}

/**
 * @param {string} text
 * @param {string} name
 * @param {() => void} act
 */
function button(text, name, act) {
  const node = element("button", "", text);
  node.setAttribute("aria-label", name);
  node.title = name;
  node.onclick = act;
  return node;
}

/**
 * Let a picture be moved and scaled within a stage.
 * @param {HTMLElement} stage
 * @param {HTMLImageElement} image
 * @param {(scale: number) => void} tell
 */
function movable(stage, image, tell) {
  let [scale, x, y] = [1, 0, 0]; // x and y: of the picture's middle, from that of the stage

  function draw() {
    image.style.transform = `translate(-50%, -50%) translate(${x}px, ${y}px) scale(${scale})`;
    image.style.imageRendering = scale >= SHARP ? "pixelated" : "";
    tell(scale);
  }

  /**
   * @param {number} factor
   * @param {number} [atX] what stays where it is, from the middle of the stage
   * @param {number} [atY]
   */
  function zoom(factor, atX = 0, atY = 0) {
    const next = Math.min(MOST, Math.max(LEAST, scale * factor));
    [x, y] = [atX - (atX - x) * (next / scale), atY - (atY - y) * (next / scale)];
    scale = next;
    draw();
  }

  function fit() {
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width || !height) return;
    [scale, x, y] = [Math.min(stage.clientWidth / width, stage.clientHeight / height, MOST), 0, 0];
    draw();
  }

  function actual() {
    [scale, x, y] = [1, 0, 0];
    draw();
  }

  /** @param {string} key */
  function key(key) {
    /** @type {Record<string, () => void>} */
    const acts = {
      "+": () => zoom(STEP),
      "=": () => zoom(STEP),
      "-": () => zoom(1 / STEP),
      0: fit,
      1: actual,
      ArrowLeft: () => pan(PAN, 0),
      ArrowRight: () => pan(-PAN, 0),
      ArrowUp: () => pan(0, PAN),
      ArrowDown: () => pan(0, -PAN),
    };
    acts[key]?.();
    return key in acts;
  }

  /**
   * @param {number} right
   * @param {number} down
   */
  function pan(right, down) {
    [x, y] = [x + right, y + down];
    draw();
  }

  image.onload = fit;
  stage.onwheel = (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    const at = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    zoom(event.deltaY < 0 ? STEP : 1 / STEP, at[0], at[1]);
  };
  stage.onpointerdown = (event) => stage.setPointerCapture(event.pointerId);
  stage.onpointermove = (event) => {
    if (stage.hasPointerCapture(event.pointerId)) pan(event.movementX, event.movementY);
  };
  return { zoom, fit, actual, key };
}
