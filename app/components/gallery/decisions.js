// Decisions by key. They go to an address of their own, one after another, and not through Streamlit: a message to a page
// is lost when a link is clicked before the page has run, since the next page does not know the component that sent it.
// In a queue the next example is shown at once, before any answer, so that no key is lost however fast they come.

/** @import { Answer, Entry, Outbox, Step, View } from "./types.js" */

import { build } from "./tiles.js";

const DECISIONS = new Set(["keep", "drop", "undo", "relabel"]);
const PRELOADED = 4;
const UNTIL_NEXT_LOOK_MS = 60;
const TOLD_AGAIN = 5;

/** @type {Map<string, Outbox>} */
const outboxes = new Map();

/**
 * Return the decisions about a run that are on their way.
 * @param {string} address
 * @returns {Outbox}
 */
export function outboxOf(address) {
  const empty = () => ({ address, version: 0, steps: [], returned: [], known: new Map(), sending: Promise.resolve() });
  const outbox = outboxes.get(address) ?? empty();
  outboxes.set(address, outbox);
  return outbox;
}

/**
 * Return whether an action is a decision, or its undo.
 * @param {string} action
 */
export function isDecision(action) {
  return DECISIONS.has(action.split(" ")[0]);
}

/**
 * Save a decision after those before it, then have the page drawn anew.
 * @param {View} view
 * @param {string} action
 * @param {string[]} ids those of an undo whose latest decision it takes back; none for the latest of all
 */
export async function decide(view, action, ids) {
  const { outbox } = view;
  /** @type {Step} */
  const step = { action, ids };
  outbox.steps.push(step);
  outbox.sending = outbox.sending.then(() => save(view, outbox, step));
  await outbox.sending;
  goOn(view);
  redraw(view);
}

/**
 * @param {View} view
 * @param {Outbox} outbox
 * @param {Step} step
 */
async function save(view, outbox, step) {
  try {
    const response = await fetch(outbox.address, {
      method: "POST",
      keepalive: true, // it arrives even if the tab is closed now
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ action: step.action, examples: step.ids, reviewer: view.data.reviewer }),
    });
    if (!response.ok) throw new Error(await response.text());
    /** @type {Answer} */
    const answer = await response.json();
    if (answer.failed) throw new Error(answer.failed);
    step.version = outbox.version = answer.version;
    if (step.action === "undo") comeBack(outbox, step, answer);
    if (answer.told) tell(view, answer.told, ":material/undo:");
  } catch (error) {
    outbox.steps = outbox.steps.filter((other) => other !== step); // its example is shown again
    const text = `Not saved: ${error instanceof Error ? error.message : error}`;
    tell(view, text, ":material/error:");
    if (view.data.queue) build(view, true);
  }
}

/**
 * Have Python tell the user something. A message may take the place of the one before it, so each has all of the last.
 * @param {View} view
 * @param {string} text
 * @param {string} icon
 */
function tell(view, text, icon) {
  view.told = [...view.told.slice(1 - TOLD_AGAIN), { id: `${performance.timeOrigin}-${performance.now()}`, text, icon }];
}

/**
 * Have an undone decision's example shown again.
 * @param {Outbox} outbox
 * @param {Step} undo
 * @param {Answer} answer
 */
function comeBack(outbox, undo, { undone, version }) {
  outbox.steps = outbox.steps.filter(({ action, ids }) => action === "undo" || !ids.some((id) => undone.includes(id)));
  outbox.returned.push(...undone.filter((id) => outbox.known.has(id)).map((id) => ({ id, version })));
  undo.awaited = undone.some((id) => !outbox.known.has(id));
}

/**
 * Have Python draw the page anew, but not while it is at it: a message then would call back a page that is about to open.
 * @param {View} view
 */
function redraw(view) {
  if (view.redrawing) return;
  view.redrawing = true;
  const look = () => {
    if (!view.root.isConnected) {
      view.redrawing = false;
    } else if (window.samplescopePage.isChanging()) {
      setTimeout(look, UNTIL_NEXT_LOOK_MS);
    } else {
      view.redrawing = false;
      view.component.setStateValue("decided", { version: view.outbox.version, told: view.told });
    }
  };
  setTimeout(look, UNTIL_NEXT_LOOK_MS); // keys in a row are drawn together
}

/**
 * Return what a queue shows: its first example that no decision on its way is about.
 * @param {View} view
 * @returns {Entry | undefined}
 */
export function queued(view) {
  const { data, outbox, skipped } = view;
  const decided = new Set(outbox.steps.filter(({ action }) => action !== "undo").flatMap(({ ids }) => ids));
  const back = outbox.returned.map(({ id }) => outbox.known.get(id)).filter((entry) => entry !== undefined);
  const entries = [...back, { item: data.items[0], keys: data.keys }, ...(data.queue ?? [])];
  return entries.find(({ item }) => !decided.has(item.id) && !skipped.has(item.id));
}

/**
 * Forget the decisions that the page now shows.
 * @param {View} view
 */
export function acknowledge(view) {
  const { data, outbox, skipped } = view;
  const isNew = (/** @type {{version?: number}} */ { version }) => version === undefined || version > data.version;
  outbox.steps = outbox.steps.filter(isNew);
  outbox.returned = outbox.returned.filter(isNew);
  const entries = [{ item: data.items[0], keys: data.keys }, ...(data.queue ?? [])];
  for (const entry of entries) outbox.known.set(entry.item.id, entry);
  for (const id of skipped) if (!entries.some(({ item }) => item.id === id)) skipped.delete(id);
  for (const { item } of entries.slice(1, 1 + PRELOADED)) if (item.src) new Image().src = item.src;
}

/**
 * Return whether an undo is on its way whose example is not back yet.
 * @param {View} view
 */
export function isUndoing(view) {
  return view.outbox.steps.some(({ action, version, awaited }) => action === "undo" && (version === undefined || awaited));
}

/**
 * Show what a queue is now about, and take the keys that waited for an undone decision to come back.
 * @param {View} view
 */
export function goOn(view) {
  if (!view.data.queue) return;
  show(view);
  for (const key of view.later.splice(0)) decideNext(view, key);
}

/**
 * Decide about the example that a queue shows, and show the next one.
 * @param {View} view
 * @param {string} key
 */
export function decideNext(view, key) {
  if (isUndoing(view)) {
    view.later.push(key); // it is about the example that comes back
    return;
  }
  const shown = queued(view);
  const action = shown?.keys[key];
  if (!action) return;
  if (action === "undo") {
    decide(view, action, []);
  } else if (isDecision(action)) {
    decide(view, action, [shown.item.id]);
  } else {
    view.skipped.add(shown.item.id);
    view.component.setStateValue("skipped", { ids: [...view.skipped], at: performance.now() });
  }
  show(view);
}

/** @param {View} view */
function show(view) {
  const signature = JSON.stringify([queued(view)?.item, view.data.layout, view.data.size]);
  if (signature === view.signature) return;
  view.signature = signature;
  build(view, true);
}
