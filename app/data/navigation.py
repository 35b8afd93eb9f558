"""Pages, links between them, and the run that a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app.data import filters, run_library, session, trail
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

PAGES = {
    name: f"pages/{name}.py"
    for name in (
        "runs",
        "overview",
        "browse",
        "example",
        "map",
        "classes",
        "training",
        "summarize",
        "review",
        "trust",
        "compare",
        "new",
    )
}

_WITH_VIEW = ("browse", "example")  # pages that have the session's view in their address


def current_run() -> Run:
    """Return the run in the address, else the session's, else the server's first; stop the page if there is none.

    The run is written into the address, so that a copied link opens the same page.
    """
    run_id = st.query_params.get("run") or st.session_state.get("run") or run_library.first_run()
    if run_id is None:
        st.info("No run is open. Choose one on the Runs page.", icon=":material/folder_open:")
        st.page_link(PAGES["runs"], label="Runs", icon=":material/arrow_back:")
        st.stop()
    try:
        run = run_library.open_run(run_id)
    except InputError as error:
        _stop_with_error(error)  # it stays the session's run: no other may take its place unseen
    if st.session_state.get("run") != run.id:
        filters.forget()
        st.session_state["run"] = run.id
    if st.query_params.get("run") != run.id:
        st.query_params["run"] = run.id
    return run


def scored_run() -> Run:
    """Return the current run if it has examples and at least one score; else say what to do and stop the page."""
    run = current_run()
    try:
        scores = run.scores
    except InputError as error:
        _stop_with_error(error)
    if not scores:
        _stop_with_error(InputError("This run has no scores yet. Run its score command again to finish it."))
    return run


def _stop_with_error(error: InputError) -> NoReturn:
    st.error(plain(error), icon=":material/error:")
    st.page_link(PAGES["runs"], label="Runs", icon=":material/arrow_back:")
    st.stop()


def open_example(run: Run, example_id: str) -> NoReturn:
    """Open the page of a training example."""
    st.switch_page(PAGES["example"], query_params=_address(run, id=example_id, **trail.onward()))


def open_evaluation(run: Run, row: int) -> NoReturn:
    """Open the page of an evaluation example by its position in ``run.evaluation``, since splits may share ids."""
    st.switch_page(PAGES["example"], query_params=_address(run, evaluation=str(row), **trail.onward()))


def open_tile(run: Run, key: str) -> NoReturn:
    """Open the page of an example of any split by its key, which tiles have as their id."""
    split, example_id = session.split_and_id(key)
    if split == "train":
        open_example(run, example_id)
    table = run.evaluation
    open_evaluation(run, int(np.flatnonzero((table["split"] == split) & (table["id"] == example_id))[0]))


def address_of(run: Run, row: Row) -> str:
    """Return the address of the page of an example, a row of a table of :mod:`~samplescope_app.data.session`."""
    return f"/example?{urlencode({'run': run.id, **trail.query_of(row)})}"


def shared_query(run: Run, view: filters.View | None = None) -> str:
    """Return how the addresses of a gallery's tiles end: the way to them, and a view, by default the session's."""
    return urlencode({**trail.onward(), **filters.address(run, view or filters.current(run))})


def go(page: str, run: Run) -> NoReturn:
    """Open another page of the same run."""
    st.switch_page(PAGES[page], query_params={"run": run.id})


def browse(run: Run, view: filters.View) -> NoReturn:
    """Open Browse with a view, which becomes the session's."""
    filters.show(run, view)
    st.switch_page(PAGES["browse"], query_params=_address(run))


def browse_rows(run: Run, rows: Iterable[int]) -> NoReturn:
    """Open Browse with some training examples, by their rows, in the order of the session's view."""
    browse(run, filters.View(filters.current(run).order, rows=tuple(rows)))


def _address(run: Run, **parameters: str) -> dict[str, str]:
    """Return the parameters of a page that shows the session's view, as Browse and Example do."""
    return {"run": run.id, **parameters, **filters.address(run, filters.current(run))}


def stops(run: Run) -> list[trail.Stop]:
    """Return where the chain of examples before the one that is shown began, and its examples."""
    found = trail.stops(run, frozenset(PAGES))
    return [
        replace(each, query=_address(run, **each.query) if each.page in _WITH_VIEW else {"run": run.id, **each.query})
        for each in found
    ]
