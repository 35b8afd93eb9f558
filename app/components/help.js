// The overlay that ? opens, which lists the keys of the page; a hint on each page until it is closed; names for the
// question marks that Streamlit calls "Help" alike: those beside headings and buttons get the name of what they
// explain; and the theme's colors for what Streamlit draws outside of the app's element.
(() => {
  const keys = window.__samplescopeKeys; // page -> [[key, what it does]]
  const hints = window.__samplescopeHints; // page -> text
  const CLOSED = "closed hints"; // in the browser's storage: the pages whose hint was closed
  /** @type {Set<string>} */
  const closed = new Set(JSON.parse(localStorage.getItem(CLOSED) ?? "[]"));

  /** @param {EventTarget} target */
  const isTyping = (target) =>
    target instanceof Element && target.matches("input, textarea, select, [contenteditable=true]");

  /**
   * @template {keyof HTMLElementTagNameMap} Tag
   * @param {Tag} tag
   * @param {string} text
   * @param {...Node} children
   */
  function element(tag, text, ...children) {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    node.append(...children);
    return node;
  }

  const pageName = () => location.pathname.replace(/^\//, "");

  function overlay() {
    const page = pageName();
    /** @param {[string, string]} entry */
    const cells = ([key, what]) => [element("td", "", element("kbd", key)), element("td", what)];
    const rows = (keys[page] ?? []).map((entry) => element("tr", "", ...cells(entry)));
    const close = element("button", "Close");
    const title = element("h2", "Keys of this page");
    title.id = "keys-title";
    const dialog = element("dialog", "", title, element("table", "", ...rows), close);
    dialog.className = "keys";
    dialog.setAttribute("aria-labelledby", title.id);
    close.onclick = () => dialog.close();
    dialog.onclose = () => dialog.remove();
    (document.querySelector("[data-testid=stApp]") ?? document.body).append(dialog); // which knows the theme
    dialog.showModal();
  }

  addEventListener("keydown", (event) => {
    if (event.key !== "?" || event.ctrlKey || event.metaKey || isTyping(event.composedPath()[0])) return;
    if (document.querySelector("dialog.keys")) return;
    overlay();
    event.preventDefault();
  });

  function nameHelp() {
    for (const button of document.querySelectorAll('button[aria-label="Help"]')) {
      const place = button.closest("[data-testid=stHeading], [data-testid=stElementContainer]");
      const named = place?.querySelector("h1, h2, h3, h4, h5, h6, button:not([aria-label]), p");
      const name = [...(named?.childNodes ?? [])].map((node) => node.textContent).join(" ").trim();
      if (name) button.setAttribute("aria-label", `Help for ${name}`);
    }
  }

  function hint() {
    const page = pageName();
    const shown = /** @type {HTMLElement | null} */ (document.querySelector("aside.hint"));
    const wanted = page in hints && !closed.has(page) && !document.querySelector("dialog[open], [role=dialog]");
    if (shown?.dataset.page === page && wanted) return;
    shown?.remove();
    const app = document.querySelector("[data-testid=stApp]");
    if (!wanted || !app) return;
    const close = element("button", "Got it");
    const aside = element("aside", "", element("p", hints[page]), close);
    aside.className = "hint";
    aside.dataset.page = page;
    aside.setAttribute("aria-label", "Hint");
    close.onclick = () => {
      closed.add(page);
      localStorage.setItem(CLOSED, JSON.stringify([...closed]));
      aside.remove();
    };
    app.append(aside);
  }

  // Streamlit draws dialogs and menus outside of the element that knows the theme, where light-dark() would be light.
  function spreadTheme() {
    const app = document.querySelector("[data-testid=stApp]");
    const scheme = app ? getComputedStyle(app).colorScheme : "";
    if (scheme && document.documentElement.style.colorScheme !== scheme) {
      document.documentElement.style.colorScheme = scheme;
    }
  }

  let waiting = 0;
  new MutationObserver(() => {
    waiting ||= setTimeout(() => {
      waiting = 0;
      nameHelp();
      hint();
      spreadTheme();
    }, 100);
  }).observe(document, { childList: true, subtree: true });
})();
