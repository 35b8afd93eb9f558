// What the other scripts ask about the page, since a message to a page that is about to change would call it back; and
// links that open in another tab by a click with Ctrl, Command or Shift, too, which Streamlit answers in this one.
(() => {
  const LEAVING_MS = 2000; // after a click on a link, until another page is there
  const TO_PAGES = "[data-testid=stPageLink] a, [data-testid=stTopNavLink], [data-testid=stSidebarNavLink]";
  let left = -Infinity; // when a link was clicked

  addEventListener(
    "click",
    (event) => {
      const isLink = (/** @type {EventTarget} */ node) => node instanceof HTMLAnchorElement && node.href;
      if (!event.composedPath().some(isLink)) return;
      const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
      if (!isElsewhere) left = performance.now();
      else if (event.target instanceof Element && event.target.closest(TO_PAGES)) event.stopPropagation();
    },
    { capture: true },
  );

  const isRunning = () =>
    document.querySelector("[data-testid=stApp]")?.getAttribute("data-test-script-state") !== "notRunning";
  const isChanging = () => isRunning() || performance.now() - left < LEAVING_MS;

  window.samplescopePage = { isRunning, isChanging };
})();
