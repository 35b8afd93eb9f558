// A page that writes what it shows into its address, such as the run, must not add an entry to the history: Back would
// lead to the same page without it, which writes it again, so that nobody gets past it. An address that only adds to the
// query of the same page takes the place of the entry; any other change is a step that Back takes back.
//
// The script of the next page may write its address a moment before the page changes. The entry that this makes, of the
// old page with less in its query, is no step either: the next page takes its place.
(() => {
  const MOMENT_MS = 500;
  const push = history.pushState.bind(history);
  let lessSince = -Infinity; // when the latest entry was made by leaving out a part of the query
  const has = (params, others) => [...others].every(([name, value]) => params.get(name) === value);
  history.pushState = (state, title, address) => {
    const from = new URL(location.href);
    const to = new URL(address ?? location.href, location.href);
    const samePage = from.pathname === to.pathname;
    const now = performance.now();
    if (samePage ? has(to.searchParams, from.searchParams) : now - lessSince < MOMENT_MS) {
      history.replaceState(state, title, address);
      return;
    }
    lessSince = samePage && has(from.searchParams, to.searchParams) ? now : -Infinity;
    push(state, title, address);
  };
})();
