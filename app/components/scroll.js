// Streamlit draws every page into the same element, which keeps its scroll position when another page opens. So a page is
// scrolled to its top when it opens, and to where it was when one returns to it: by Back and Forward, by the trail, by a
// reload, and, for pages that are not about one example, by any link. The position is held until the page is drawn, since
// a page grows while its parts arrive, unless the user scrolls.
(() => {
  const KEY = "scroll positions";
  const MOST = 100;
  const LOOK_MS = 50;
  const STILL_MS = 500;
  const LONGEST_MS = 15000;
  const SCROLLS = new Set(["PageUp", "PageDown", "ArrowUp", "ArrowDown", "Home", "End", " ", "Tab"]);

  /** @type {Map<string, number>} */
  const positions = new Map(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));
  const OF_EXAMPLE = ["id", "evaluation", "via"]; // what other pages have in their address while they are left
  let here = location.href;
  let byTrail = false; // whether the address changes because of a click on the trail
  /** @type {{again: boolean, stop: () => void} | null} */
  let arrival = null;

  const main = () => document.querySelector("[data-testid=stMain]");

  // Called when the user does something, since the page is gone when the address changes because of it.
  function remember() {
    const element = main();
    if (!element || arrival) return; // a page that is not drawn yet keeps the position that it had
    const address = bare(here);
    positions.delete(address);
    positions.set(address, element.scrollTop);
    for (const address of [...positions.keys()].slice(0, -MOST)) positions.delete(address);
    sessionStorage.setItem(KEY, JSON.stringify([...positions]));
  }

  /** @param {string} address */
  function bare(address) {
    const url = new URL(address);
    if (url.pathname !== "/example") for (const name of OF_EXAMPLE) url.searchParams.delete(name);
    url.searchParams.sort();
    return url.href;
  }

  // The position of an address, or of a page whose full address is still to come: the latest one that adds to it.
  /** @param {string} address */
  function positionOf(address) {
    const wanted = new URL(bare(address));
    const matches = (/** @type {string} */ other) => {
      const { pathname, searchParams } = new URL(other);
      const query = [...wanted.searchParams];
      return pathname === wanted.pathname && query.every(([name, value]) => searchParams.get(name) === value);
    };
    return positions.get(wanted.href) ?? positions.get([...positions.keys()].reverse().find(matches) ?? "") ?? 0;
  }

  /** @param {boolean} again whether the user returns to what was seen before */
  function arrive(again) {
    arrival?.stop();
    const began = performance.now();
    let still = 0;
    const controller = new AbortController();
    const stop = () => {
      clearInterval(timer);
      controller.abort();
      if (arrival?.stop === stop) arrival = null;
    };
    const timer = setInterval(() => {
      const element = main();
      if (!element) return;
      const top = again ? positionOf(here) : 0;
      const wanted = Math.min(top, element.scrollHeight - element.clientHeight);
      if (Math.abs(element.scrollTop - wanted) > 1) element.scrollTop = wanted;
      still = window.samplescopePage.isRunning() ? 0 : still + LOOK_MS;
      if (still >= (again ? STILL_MS : LOOK_MS) || performance.now() - began > LONGEST_MS) stop();
    }, LOOK_MS);
    const options = { capture: true, passive: true, signal: controller.signal };
    for (const type of ["wheel", "touchstart", "pointerdown"]) addEventListener(type, stop, options);
    addEventListener("keydown", (event) => SCROLLS.has(event.key) && stop(), options);
    arrival = { again, stop };
  }

  // The address has changed, by a page that opens or by one that only writes what it shows.
  /** @param {boolean} isReturn */
  function moved(isReturn) {
    const [from, to] = [new URL(here), new URL(location.href)];
    if (from.href === to.href) return;
    const samePage = from.pathname === to.pathname;
    // A step to the next example of a list leaves the trail as it is, and the eye where it was.
    const opensExample = to.pathname === "/example" && from.searchParams.get("via") !== to.searchParams.get("via");
    if (samePage && !isReturn && !opensExample) {
      here = to.href;
      return;
    }
    here = to.href;
    arrive(isReturn || byTrail || to.pathname !== "/example" || Boolean(arrival?.again && samePage));
    byTrail = false;
  }

  for (const name of /** @type {const} */ (["pushState", "replaceState"])) {
    const change = history[name].bind(history);
    history[name] = (state, title, address) => {
      change(state, title, address);
      moved(false);
    };
  }
  for (const type of ["pointerdown", "click", "keydown"]) addEventListener(type, remember, { capture: true });
  addEventListener(
    "popstate",
    () => {
      remember();
      moved(true);
    },
    { capture: true },
  );
  addEventListener(
    "click",
    (event) => {
      byTrail = event.target instanceof Element && event.target.closest(".st-key-trail a") !== null;
    },
    { capture: true },
  );
  addEventListener("pagehide", remember);
  const [entry] = performance.getEntriesByType("navigation");
  arrive(entry instanceof PerformanceNavigationTiming && entry.type !== "navigate");
})();
