// Has the page drawn anew when the decisions, tags or notes of its run have changed elsewhere. It asks the server only for
// a number, so that nothing is run or drawn while nothing changes.

const LOOK_MS = 2000;
const ANSWER_MS = 600; // what this page has done itself is drawn by then

const timers = new WeakMap();

/**
 * @typedef {object} Component
 * @property {{address: string, version: number}} data
 * @property {HTMLElement} parentElement
 * @property {(name: string, value: unknown) => void} setStateValue
 */

/** @param {Component} component */
export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const stop = () => clearTimeout(timers.get(parentElement));
  /** @type {(step: () => void, time: number) => void} */
  const later = (step, time) => void timers.set(parentElement, setTimeout(step, time));
  stop(); // this function runs at every redraw, and only the latest knows what the page shows
  later(look, LOOK_MS);
  return stop;

  async function look() {
    const mine = timers.get(parentElement);
    const version = document.hidden || window.samplescopePage.isChanging() ? data.version : await newest(data.address);
    if (timers.get(parentElement) !== mine || version === null) return; // drawn anew meanwhile, or the run is gone
    if (version === data.version) later(look, LOOK_MS);
    else later(() => tell(version), ANSWER_MS);
  }

  /** @param {number} version */
  function tell(version) {
    if (!window.samplescopePage.isChanging()) setStateValue("version", version);
    later(look, LOOK_MS);
  }

  /** @param {string} address */
  async function newest(address) {
    try {
      const answer = await fetch(address);
      return answer.ok ? (await answer.json()).version : null;
    } catch {
      return data.version; // the server does not answer, which Streamlit says itself; it may come back
    }
  }
}
