// The clickable gallery. Python sends items; this script sends back:
//   opened   {id}           a tile was clicked, or Enter pressed on it
//   pressed  [{action, ids, number}]  keys of data.keys were pressed, in this order
//   focused  id             the tile with the keyboard focus (when data.reports_focus)
//   selected {ids, number}  ctrl-click, the check box or Space (when data.selectable); with everywhere, on other pages too
// Text from the data reaches the page through textContent and attributes only, never as HTML.

const views = new WeakMap();
const ANSWER_MS = 800;
const UNANSWERED_MS = 4000; // after which decisions are sent again; Python knows the numbers that it has seen
const PRELOADED = 4;
const STEPS = new Set(["previous", "next", "back"]); // actions that decide nothing about an example

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".gallery");
  const view = views.get(root) ?? { signature: "", focused: 0, selected: new Set(), busy: -Infinity, timer: 0 };
  views.set(root, view);
  Object.assign(view, { root, data, component, busy: -Infinity });
  if (data.queue) acknowledge(view);
  // Rebuilding the tiles loses the keyboard focus, so it happens only when they change.
  const signature = JSON.stringify([data.queue ? queued(view)?.item : data.items, data.layout, data.size]);
  if (signature !== view.signature) {
    const sameTiles = view.ids === JSON.stringify(data.items.map((item) => item.id));
    const hadFocus = root.contains(parentElement.activeElement ?? null);
    view.signature = signature;
    view.ids = JSON.stringify(data.items.map((item) => item.id));
    if (!sameTiles) view.selection = undefined;
    build(view, sameTiles);
    if (hadFocus) focusTile(view, view.focused);
  }
  adoptSelection(view);
  view.listening?.abort(); // this function runs at every redraw and must not add a listener each time
  view.listening = new AbortController();
  // Page-wide keys are caught before Streamlit sees them, since it uses "r" and "c" itself.
  const target = data.page_keys ? document : root;
  target.addEventListener("keydown", (event) => pressed(view, event), { capture: true, signal: view.listening.signal });
  if (data.queue) goOn(view);
  const { waiting } = view;
  view.waiting = null;
  if (waiting && performance.now() < waiting.until && (waiting.ids === view.ids || STEPS.has(waiting.action))) {
    press(view, waiting.action);
  }
  return () => view.listening.abort();
}

function build(view, sameTiles) {
  const { root, data } = view;
  root.className = `gallery ${data.layout}`;
  root.style.setProperty("--size", `${data.size}px`);
  root.onclick = root.onfocus = null;
  if (data.layout === "picture" || data.layout === "mosaic") {
    const shown = data.queue ? [queued(view)?.item].filter((item) => item) : data.items;
    root.replaceChildren(...shown.map((item) => picture(item)), ...shown.filter((item) => item.note).map(noteOf));
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

// The image, or the text of an example without one.
function picture(item) {
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

function noteOf(item) {
  const note = element("div", "note", item.note);
  note.setAttribute("aria-hidden", "true"); // the image's alt text and the page beside it say it
  return note;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) {
    node.textContent = text;
    node.title = text;
  }
  return node;
}

function tile(view, item, index) {
  const node = element("div", `tile ${item.decision}`);
  node.setAttribute("role", "option");
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

function clicked(view, index, event) {
  const { data } = view;
  const ticked = event.target.classList.contains("check");
  if (data.selectable && (ticked || event.ctrlKey || event.metaKey)) {
    toggle(view, index);
  } else if (data.selectable && event.shiftKey) {
    selectRange(view, index);
  } else {
    open(view, index);
  }
}

// Another page or example follows, and the keys act on that one: these tiles must not answer them until they go.
function open(view, index) {
  if (send(view, "opened", { id: view.data.items[index].id })) view.root.children[index].blur();
}

function focused(view, index) {
  const tiles = view.root.children;
  if (tiles[view.focused]) tiles[view.focused].tabIndex = -1;
  tiles[index].tabIndex = 0;
  view.focused = index;
  if (!view.data.reports_focus) return;
  clearTimeout(view.timer);
  // Holding down an arrow key must not cause a rerun for each tile it passes.
  view.timer = setTimeout(() => view.component.setStateValue("focused", view.data.items[index]?.id ?? null), 150);
}

function focusTile(view, index) {
  const node = view.root.children[index];
  if (!node) return;
  node.focus();
  node.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function toggle(view, index) {
  const { id } = view.data.items[index];
  const selected = new Set(view.selected);
  if (!selected.delete(id)) selected.add(id);
  view.anchor = index;
  select(view, selected);
}

function selectRange(view, index) {
  const anchor = view.anchor ?? view.focused;
  const [first, last] = [Math.min(anchor, index), Math.max(anchor, index)];
  select(view, [...view.selected, ...view.data.items.slice(first, last + 1).map((item) => item.id)]);
}

function select(view, ids, everywhere = false) {
  view.selected = new Set(ids);
  markSelected(view);
  view.selections = (view.selections ?? 0) + 1; // Python sees an equal selection again, after it had another one
  const number = `${performance.timeOrigin}-${view.selections}`;
  view.component.setStateValue("selected", { ids: [...view.selected], everywhere, number });
}

// Show what Python has selected: on new tiles, and after it has changed the selection itself.
function adoptSelection(view) {
  const { data } = view;
  if (!data.selectable || view.selection === data.selection) return;
  view.selection = data.selection;
  view.selected = new Set(data.selected);
  markSelected(view);
}

function markSelected(view) {
  view.data.items.forEach((item, index) => {
    view.root.children[index]?.setAttribute("aria-selected", String(view.selected.has(item.id)));
  });
}

// One message at a time: a second key press before the answer would act on the example that is about to go.
function send(view, name, value) {
  clearTimeout(view.timer); // the page that opens does not need the previous focus
  const now = performance.now();
  if (now - view.busy < ANSWER_MS) return false;
  view.busy = now;
  view.component.setTriggerValue(name, value);
  return true;
}

// A queue: after a decision the next example is shown at once, before Python answers, so no key is lost however fast they
// come. Decisions are numbered, sent at once, and sent again until Python has seen them.

// What is shown: the first example of the queue that no decision on its way is about.
function queued(view) {
  const decided = new Set(view.steps.filter(({ action }) => action !== "undo").flatMap(({ ids }) => ids));
  return [{ item: view.data.items[0], keys: view.data.keys }, ...view.data.queue].find(({ item }) => !decided.has(item.id));
}

function acknowledge(view) {
  const { data } = view;
  view.steps = (view.steps ?? []).filter(({ number }) => number > data.seen);
  view.number = Math.max(view.number ?? 0, data.seen);
  view.later ??= [];
  for (const { item } of data.queue.slice(0, PRELOADED)) if (item.src) new Image().src = item.src;
}

// Take the keys that waited for an undone decision to come back.
function goOn(view) {
  const later = view.later.splice(0);
  for (const key of later) decideNext(view, key);
  if (later.length) sendSteps(view);
}

function decideNext(view, key) {
  if (view.steps.some(({ action }) => action === "undo")) {
    view.later.push(key); // it is about the example that comes back
    return;
  }
  const shown = queued(view);
  const action = shown?.keys[key];
  if (!action) return;
  view.number += 1;
  view.steps.push({ action, ids: [shown.item.id], number: view.number });
  build(view, true);
  view.signature = JSON.stringify([queued(view)?.item, view.data.layout, view.data.size]);
}

// Each message has all decisions that were not seen yet, since a second one may take the place of the first.
function sendSteps(view) {
  clearTimeout(view.timer);
  if (!view.steps.length || !view.root.isConnected) return;
  view.component.setTriggerValue("pressed", view.steps);
  view.timer = setTimeout(() => sendSteps(view), UNANSWERED_MS);
}

// A key pressed too early waits for the answer. It counts if it only steps or if the examples are still the same: keep,
// then next, then back work in a row, but a second drop never acts on an example that the user has not seen.
function press(view, action) {
  const focusedId = view.data.items[view.focused]?.id;
  // Where other pages of tiles have the selection, Python knows it.
  const single = view.data.elsewhere ? [] : [focusedId].filter((id) => id !== undefined);
  const ids = view.selected.size ? [...view.selected] : single;
  const sent = send(view, "pressed", [{ action, ids }]);
  view.waiting = sent ? null : { action, ids: view.ids, until: performance.now() + ANSWER_MS };
}

function pressed(view, event) {
  if (!view.root.isConnected || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
  const { data } = view;
  if (data.page_keys && event.key.length > 1 && isAmongTiles(event)) return;
  if (data.page_keys && event.key === "Enter" && event.composedPath()[0] !== document.body) return; // it presses a button
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = data.keys[key];
  if (data.queue && (queued(view)?.keys[key] || (view.steps.length && action))) {
    decideNext(view, key);
    sendSteps(view);
  } else if (action) {
    press(view, action);
  } else if (data.page_keys || !navigate(view, event)) {
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
}

// Letters belong to the text field or open menu that has the focus.
function isTyping(event) {
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return false;
  return target.matches("input, textarea, select, [contenteditable=true]") || Boolean(target.closest("[role=dialog]"));
}

// Arrow keys belong to the tiles that have the focus, even where the page uses them too.
function isAmongTiles(event) {
  const target = event.composedPath()[0];
  return target instanceof Element && Boolean(target.closest("[role=listbox]"));
}

function navigate(view, event) {
  const { items, selectable } = view.data;
  const tiles = [...view.root.children];
  const columns = Math.max(1, tiles.filter((node) => node.offsetTop === tiles[0].offsetTop).length);
  const last = items.length - 1;
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
  } else if (event.key === "Escape" && (view.selected.size || view.data.elsewhere)) {
    select(view, [], true);
  } else if (event.key in targets) {
    focusTile(view, Math.min(last, Math.max(0, targets[event.key])));
  } else {
    return false;
  }
  return true;
}
