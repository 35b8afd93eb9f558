// What Plotly lacks on a chart of examples: a card with the picture of the point under the pointer, points that the
// arrow keys reach, and a wheel that scrolls the page until the chart was clicked. Python sends where the chart is and
// the row of each point; this script sends back opened {table, row} when Enter is pressed on a point.
// Text from the data reaches the page through textContent and attributes only, never as HTML.

/** @import { ChartPoint, PlotlyChart, PointedView, PointerComponent, PointerView } from "./gallery/types.js" */

const GAP = 14; // pixels between a point and its card
const FIRST_LOOK_MS = 100;
/** @type {Record<string, [number, number]>} */
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @type {WeakMap<Element, PointerView>} */
const views = new WeakMap();

/** @param {PointerComponent} component */
export default function (component) {
  const { data, parentElement } = component;
  const root = part(parentElement, ".pointer");
  // A new view gets the rest of its parts below and when a chart is found.
  const view = views.get(root) ?? /** @type {PointerView} */ ({ root, known: new Map() });
  views.set(root, view);
  const layers = data.layers.map(({ table, rows }) => ({ table, rows: numbers(rows) }));
  detach(view); // this function runs at every redraw and must not add listeners each time
  Object.assign(view, { component, data, layers });
  if (!view.at || !view.layers[view.at.curve]) view.at = null;
  look(view);
  return () => detach(view);
}

/** @param {PointerView} view */
function detach(view) {
  view.stop?.abort();
  view.stop = new AbortController();
  clearTimeout(view.timer);
  view.plot?.removeListener?.("plotly_hover", view.hovered);
  view.plot?.removeListener?.("plotly_unhover", view.left);
  view.plot = null;
  hide(view);
}

// The chart is drawn by another part of the page, sooner or later than this one, and may be drawn anew.
/** @param {PointerView} view */
function look(view) {
  const found = document.querySelector(`.st-key-${view.data.place} .js-plotly-plot`);
  const plot = /** @type {PlotlyChart | null} */ (found);
  if (plot?.on && plot !== view.plot) attach(/** @type {PointedView} */ (view), plot);
  view.timer = setTimeout(() => look(view), FIRST_LOOK_MS * (plot ? 10 : 1));
}

/**
 * @param {PointedView} view what it lacks of a view with a chart is set here
 * @param {PlotlyChart} plot
 */
function attach(view, plot) {
  view.plot = plot;
  /**
   * @template {keyof HTMLElementEventMap} Name
   * @param {EventTarget} target
   * @param {Name} name
   * @param {(event: HTMLElementEventMap[Name]) => void} action
   * @param {AddEventListenerOptions} [more]
   */
  const listen = (target, name, action, more) => {
    const listener = /** @type {EventListener} */ (action); // a target of any kind does not know its events
    target.addEventListener(name, listener, { signal: view.stop.signal, ...more });
  };
  plot.tabIndex = 0;
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-roledescription", "map of examples");
  plot.setAttribute("aria-label", view.data.name);
  view.hovered = ({ points }) => show(view, { curve: points[0].curveNumber, point: points[0].pointNumber });
  view.left = () => hide(view);
  plot.on("plotly_hover", view.hovered);
  plot.on("plotly_unhover", view.left);
  listen(plot, "pointerdown", () => (view.active = true));
  listen(plot, "mouseleave", () => hide(view));
  listen(document, "pointerdown", (event) => (view.active = event.composedPath().includes(plot)));
  listen(plot, "wheel", (event) => view.active || event.stopPropagation(), { capture: true });
  listen(plot, "keydown", (event) => pressed(view, event), { capture: true });
  listen(plot, "blur", () => hide(view));
  listen(window, "scroll", () => hide(view), { capture: true });
}

/**
 * @param {PointedView} view
 * @param {KeyboardEvent} event
 */
function pressed(view, event) {
  if (event.target !== view.plot || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in STEPS) {
    const next = view.at ? nearest(view, view.at, STEPS[event.key]) : first(view);
    if (next) show(view, (view.at = next));
  } else if (event.key === "Enter" && view.at) {
    view.component.setTriggerValue("opened", exampleAt(view, view.at));
  } else if (event.key === "Escape") {
    view.at = null;
    view.active = false;
    hide(view);
  } else {
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
}

// -- Points -----------------------------------------------------------------------------------------------------------

/** @param {string} base64 */
function numbers(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Int32Array(bytes.buffer);
}

/**
 * @param {PointerView} view
 * @param {ChartPoint} point
 * @returns {{table: string, row: number} | undefined} undefined if the point is no example
 */
function exampleAt(view, { curve, point }) {
  const layer = view.layers[curve];
  return layer && { table: layer.table, row: layer.rows[point] };
}

/**
 * Where a point is on the screen.
 * @param {PointedView} view
 * @param {ChartPoint} point
 */
function screenPlace(view, { curve, point }) {
  const { xaxis, yaxis } = view.plot._fullLayout;
  const trace = view.plot._fullData[curve];
  const box = view.plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(trace.x[point]), box.top + yaxis._offset + yaxis.d2p(trace.y[point])];
}

/**
 * @param {PointedView} view
 * @returns {Generator<ChartPoint>}
 */
function* places(view) {
  for (const curve of view.layers.keys()) {
    const trace = view.plot._fullData[curve];
    if (trace?.visible !== true) continue;
    for (let point = 0; point < trace.x.length; point += 1) yield { curve, point };
  }
}

/**
 * The point nearest to the middle of what is shown.
 * @param {PointedView} view
 */
function first(view) {
  const { xaxis, yaxis } = view.plot._fullLayout;
  const box = view.plot.getBoundingClientRect();
  const middle = [box.left + xaxis._offset + xaxis._length / 2, box.top + yaxis._offset + yaxis._length / 2];
  return best(view, (x, y) => Math.hypot(x - middle[0], y - middle[1]));
}

/**
 * The nearest point in a direction: what lies aside counts twice, and what lies more aside than ahead not at all.
 * @param {PointedView} view
 * @param {ChartPoint} at
 * @param {[number, number]} direction
 */
function nearest(view, at, [dx, dy]) {
  const [x, y] = screenPlace(view, at);
  return best(view, (px, py, candidate) => {
    if (candidate.curve === at.curve && candidate.point === at.point) return Infinity;
    const ahead = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    return ahead > 0 && ahead >= aside ? ahead + 2 * aside : Infinity;
  });
}

/**
 * @param {PointedView} view
 * @param {(x: number, y: number, candidate: ChartPoint) => number} distance
 */
function best(view, distance) {
  /** @type {ChartPoint | null} */
  let found = null;
  let least = Infinity;
  for (const candidate of places(view)) {
    const [x, y] = screenPlace(view, candidate);
    const d = distance(x, y, candidate);
    if (d < least) [least, found] = [d, candidate];
  }
  return found;
}

// -- The card ---------------------------------------------------------------------------------------------------------

/**
 * @param {PointedView} view
 * @param {ChartPoint} point
 */
async function show(view, point) {
  const example = exampleAt(view, point);
  if (!example) return; // a line, not an example
  view.shown = `${example.table}/${example.row}`;
  const [x, y] = screenPlace(view, point);
  place(part(view.root, ".ring"), x, y);
  const facts = await about(view, example);
  if (!facts || view.shown !== `${example.table}/${example.row}`) return;
  const card = part(view.root, ".card");
  const image = /** @type {HTMLImageElement} */ (part(card, "img"));
  image.hidden = !facts.src;
  if (facts.src) image.src = facts.src;
  part(card, ".text").textContent = facts.text;
  part(card, ".id").textContent = facts.id;
  part(card, ".label").textContent = facts.label;
  part(card, ".predicted").textContent = facts.predicted;
  place(card, x, y);
  const { width, height } = card.getBoundingClientRect();
  const left = x + GAP + width > innerWidth ? x - GAP - width : x + GAP;
  place(card, left, Math.max(GAP, Math.min(y - height / 2, innerHeight - height - GAP)));
  if (document.activeElement === view.plot && view.at) part(view.root, ".said").textContent = facts.words;
}

/**
 * @param {HTMLElement} node
 * @param {number} x
 * @param {number} y
 */
function place(node, x, y) {
  node.hidden = false;
  node.style.left = `${x}px`;
  node.style.top = `${y}px`;
}

/**
 * A part of the component's own HTML, which is always there.
 * @param {ParentNode} parent
 * @param {string} selector
 */
function part(parent, selector) {
  return /** @type {HTMLElement} */ (parent.querySelector(selector));
}

/** @param {PointerView} view */
function hide(view) {
  view.shown = "";
  const nodes = /** @type {NodeListOf<HTMLElement>} */ (view.root.querySelectorAll(".card, .ring"));
  for (const node of nodes) node.hidden = true;
}

/**
 * @param {PointerView} view
 * @param {{table: string, row: number}} example
 */
async function about(view, { table, row }) {
  const address = `${view.data.about}/${table}/${row}`;
  if (!view.known.has(address)) {
    const answer = await fetch(address);
    view.known.set(address, answer.ok ? await answer.json() : null);
  }
  return view.known.get(address);
}
