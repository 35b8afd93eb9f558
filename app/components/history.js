// An entry of the history is a step that the user took. Streamlit adds one for every change of the address, also when a page
// writes what it shows into its own, such as the run: Back would lead to the same page without it, which writes it again,
// so that nobody gets past it. And where a page opens another one, it first adds one with the page that is left and the
// query of the page that opens, to which nobody has ever been. So an address takes the place of the last one if the user
// has done nothing since.
(() => {
  const push = history.pushState.bind(history);
  let acted = false; // whether the user has done something since the last entry
  let begun = false; // whether the last entry differs from the one before in its query only
  for (const type of ["pointerdown", "click", "keydown", "popstate"]) {
    addEventListener(type, () => (acted = true), { capture: true });
  }
  history.pushState = (state, title, address) => {
    const samePage = new URL(address ?? location.href, location.href).pathname === location.pathname;
    if (!acted && (samePage || begun)) {
      history.replaceState(state, title, address);
      begun &&= samePage;
    } else {
      push(state, title, address);
      begun = samePage;
    }
    acted = false;
  };
})();
