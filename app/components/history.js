// A page that writes what it shows into its address, such as the run, must not add an entry to the history: Back would
// lead to the same page without it, which writes it again, so that nobody gets past it. An address that only adds to the
// query of the same page takes the place of the entry; any other change is a step that Back takes back.
(() => {
  const push = history.pushState.bind(history);
  history.pushState = (state, title, address) => {
    const from = new URL(location.href);
    const to = new URL(address ?? location.href, location.href);
    const adds =
      from.pathname === to.pathname && [...from.searchParams].every(([name, value]) => to.searchParams.get(name) === value);
    if (adds) history.replaceState(state, title, address);
    else push(state, title, address);
  };
})();
