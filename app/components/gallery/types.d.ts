// What the modules of the gallery, and the scripts beside it, hand to each other; read by the type checker only.

export interface Item {
  id: string;
  src: string;
  alt: string;
  text?: string;
  href?: string;
  label?: string;
  predicted?: string;
  score?: string;
  aside?: string;
  tone?: string;
  note?: string;
  decision?: string;
  badge?: string;
  split?: string;
  tags?: string;
  /** Address of the original of the picture, if it is there. */
  full?: string;
  /** What the picture at full size is. */
  source?: string;
}

/** An example of a queue, and key -> action for it. */
export interface Entry {
  item: Item;
  keys: Record<string, string>;
}

/** What Python sends. */
export interface Data {
  items: Item[];
  layout: "grid" | "strip" | "picture" | "mosaic";
  name: string;
  size: number;
  captions?: boolean;
  keys: Record<string, string>;
  page_keys: boolean;
  selectable: boolean;
  reports_focus: boolean;
  /** What the addresses of all tiles end with. */
  query: string;
  /** Address that decisions are sent to. */
  decisions: string;
  /** Name of the reviewer who decides. */
  reviewer: string;
  /** Ids that Python has selected among the items, and how often it has changed the selection. */
  selected: string[];
  selection: number;
  /** Whether tiles of other pages are selected. */
  elsewhere: boolean;
  /** A number that changes when the keyboard's focus is to come back to the tiles. */
  returns: number;
  /** Whether undo takes back the latest decision about the shown example only. */
  undoes_own: boolean;
  /** The examples after the first, of a queue. */
  queue?: Entry[];
  /** Version of the decisions that the items follow from. */
  version: number;
}

/** What Streamlit hands to a component. */
export interface Component {
  data: Data;
  parentElement: HTMLElement | ShadowRoot;
  setStateValue(name: string, value: unknown): void;
  setTriggerValue(name: string, value: unknown): void;
}

/** A decision, on its way until the server has given it a version, and then until the page shows it. */
export interface Step {
  action: string;
  ids: string[];
  version?: number;
  /** Whether what an undo brings back is to come with the next drawing of the page. */
  awaited?: boolean;
}

/** A message for the user. */
export interface Told {
  id: string;
  text: string;
  icon: string;
}

/** The decisions about one run that the page does not show yet; they survive a new mount of the component. */
export interface Outbox {
  address: string;
  /** Version after the latest answer. */
  version: number;
  steps: Step[];
  returned: { id: string; version: number }[];
  known: Map<string, Entry>;
  sending: Promise<void>;
}

export interface Answer {
  version: number;
  undone: string[];
  told: string;
  failed?: string;
}

/** The state of one gallery on the page. */
export interface View {
  root: HTMLElement;
  data: Data;
  component: Component;
  outbox: Outbox;
  signature: string;
  ids: string;
  focused: number;
  anchor?: number;
  selected: Set<string>;
  /** How often Python had changed the selection that is shown. */
  selection?: number;
  selections: number;
  /** The number of {@link Data} at the drawing before. */
  returns?: number;
  busy: number;
  timer: number;
  /** Tells Python which tile has the focus, at the end of the timer. */
  untold?: () => void;
  waiting: { action: string; ids: string; until: number } | null;
  listening?: AbortController;
  /** Keys that wait for an undone decision to come back. */
  later: string[];
  told: Told[];
  redrawing: boolean;
  skipped: Set<string>;
}

/** What Python sends about a chart of examples (pointer.js). */
export interface PointerData {
  /** Class of the container that holds the chart, without Streamlit's prefix. */
  place: string;
  /** Name of the chart and what its keys do. */
  name: string;
  /** What the addresses of facts about examples start with. */
  about: string;
  /** The examples of each of the first curves, their rows as 32-bit numbers in base64. */
  layers: { table: string; rows: string }[];
}

export interface PointerComponent extends Omit<Component, "data"> {
  data: PointerData;
}

/** A point of a chart: the number of its curve, and its own among those of the curve. */
export interface ChartPoint {
  curve: number;
  point: number;
}

/** What the card of a point says. */
export interface Facts {
  /** Address of its picture, or "". */
  src: string;
  text: string;
  id: string;
  label: string;
  predicted: string;
  /** All of it, for screen readers. */
  words: string;
}

/** An axis of Plotly: where it starts and how long it is, in pixels, and where a value lies on it. */
export interface PlotlyAxis {
  _offset: number;
  _length: number;
  d2p(value: number | string): number;
}

export interface PlotlyTrace {
  visible: boolean | "legendonly";
  x: ArrayLike<number | string>;
  y: ArrayLike<number | string>;
}

export interface PlotlyHover {
  points: { curveNumber: number; pointNumber: number }[];
}

/** The element of a chart, with what Plotly adds to it when it draws. */
export interface PlotlyChart extends HTMLElement {
  on(name: "plotly_hover", action: (event: PlotlyHover) => void): void;
  on(name: "plotly_unhover", action: () => void): void;
  removeListener(name: "plotly_hover", action: (event: PlotlyHover) => void): void;
  removeListener(name: "plotly_unhover", action: () => void): void;
  _fullLayout: { xaxis: PlotlyAxis; yaxis: PlotlyAxis };
  _fullData: PlotlyTrace[];
}

/** The state of the pointer on one chart. */
export interface PointerView {
  root: HTMLElement;
  data: PointerData;
  component: PointerComponent;
  layers: { table: string; rows: Int32Array }[];
  /** Address -> facts, or null if the server has none. */
  known: Map<string, Facts | null>;
  plot: PlotlyChart | null;
  /** What Plotly calls; set together with the chart. */
  hovered: (event: PlotlyHover) => void;
  left: () => void;
  /** Ends the listeners of the drawing before. */
  stop?: AbortController;
  timer?: number;
  /** The point that the arrow keys have reached. */
  at?: ChartPoint | null;
  /** Whether the chart was clicked, so that the wheel zooms it. */
  active?: boolean;
  /** Table and row of the example on the card, or "". */
  shown: string;
}

/** A view whose chart was found. */
export interface PointedView extends PointerView {
  plot: PlotlyChart;
  stop: AbortController;
}

declare global {
  interface Window {
    /** Page -> its keys, each with what it does (help.js). */
    __samplescopeKeys: Record<string, [string, string][]>;
    /** Page -> its hint (help.js). */
    __samplescopeHints: Record<string, string>;
    /** Whether the page's script runs, and whether it does or a link was clicked just now (page.js). */
    samplescopePage: { isRunning(): boolean; isChanging(): boolean };
  }
}
