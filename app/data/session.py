"""What a session looks at: the run, the filters and the order of Browse, and links from page to page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.labels import label_names
from samplescope_app.data import run_library
from samplescope_app.wording import labels
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
DECISION_NAMES = {"": "undecided", "keep": "kept", "drop": "dropped", "relabel": "relabelled"}


def current_run() -> Run:
    """The run in the address, else the session's, else the one the server opened; stops the page where there is none.

    The run is put into the address, so that a copied link opens the same page.
    """
    run_id = st.query_params.get("run") or st.session_state.get("run") or run_library.first_run()
    if run_id is None:
        st.info("No run is open: choose one on the page Runs.", icon=":material/folder_open:")
        st.page_link(PAGES["runs"], label="Runs", icon=":material/arrow_back:")
        st.stop()
    try:
        run = run_library.open_run(run_id)
    except InputError as error:
        st.session_state.pop("run", None)
        _stop_with_error(error)
    if st.session_state.get("run") != run.id:
        clear_filters()
        st.session_state["run"] = run.id
    st.query_params["run"] = run.id
    return run


def scored_run() -> Run:
    """The current run if it has examples and at least one score to rank them by; else says what to do, and stops."""
    run = current_run()
    try:
        scores = run.scores
    except InputError as error:
        _stop_with_error(error)
    if not scores:
        _stop_with_error(InputError("This run has no scores yet: run its score command again to finish it."))
    return run


def _stop_with_error(error: InputError) -> NoReturn:
    st.error(plain(error), icon=":material/error:")
    st.page_link(PAGES["runs"], label="Runs", icon=":material/arrow_back:")
    st.stop()


def examples(run: Run) -> pd.DataFrame:
    """The training examples with their decisions; shared by all sessions, not to be changed.

    Returns:
        ``run.examples`` with ``row``, ``action``, ``new_label_name`` and a column ``SCORE percentile`` for each score.
    """
    return _with_decisions(run, run.version, run.decisions.version())


@st.cache_resource(max_entries=4, show_spinner=False)
def _with_decisions(_run: Run, version: str, decisions: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = _with_percentiles(_run, version).copy()
    cleaned = _run.cleaned_labels()
    frame["action"] = cleaned["action"].to_numpy()
    frame["new_label_name"] = label_names(cleaned["label"].to_numpy(), _run.class_names)
    return frame


@st.cache_resource(max_entries=4, show_spinner=False)
def _with_percentiles(_run: Run, version: str) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = _run.examples.copy()
    frame["row"] = np.arange(len(frame))
    for score in _run.scores:
        frame[f"{score} percentile"] = frame[score].rank(pct=True) * 100
    for group in _run.groups:
        frame[group] = labels.group_names(_run, frame[group])
    return frame


@dataclass(frozen=True)
class Filters:
    """What Browse shows, and in which order; Example steps through the same list.

    ``classes``, ``predicted`` and ``wrong_only`` are for classes, ``value_low`` and ``value_high`` for values.
    ``selection`` holds rows that were chosen elsewhere, on the map; all are shown where it is empty.
    """

    score: str
    descending: bool = True
    classes: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    value_low: float | None = None
    value_high: float | None = None
    decisions: list[str] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    group: str | None = None
    group_values: list[str] = field(default_factory=list)
    text: str = ""
    wrong_only: bool = False
    selection: tuple[int, ...] = ()


# Filter -> the key of its widget. The values live in the session, so that they survive a visit to another page.
KEYS = {name: f"browse {name}" for name in Filters.__dataclass_fields__}


def filters(run: Run) -> Filters:
    """The filters as the session has them."""
    values = {name: st.session_state[key] for name, key in KEYS.items() if st.session_state.get(key) is not None}
    if values.get("score") not in run.scores:
        values["score"] = default_score(run)
    if values.get("group") not in labels.kinds(run):
        values.pop("group", None)
    return Filters(**values)


def default_score(run: Run) -> str:
    """The run's first measure, else its first diagnostic."""
    return run.scores[0]


def clear_filters() -> None:
    """Shows all examples again, the highest score first."""
    for key in [*KEYS.values(), "browse page"]:
        st.session_state.pop(key, None)


def forget_selection() -> None:
    """Shows the examples that were not chosen on the map again, as the other filters have them."""
    st.session_state.pop(KEYS["selection"], None)


def browse_by(**values: Any) -> None:
    """Replaces the filters by these alone."""
    clear_filters()
    for name, value in values.items():
        st.session_state[KEYS[name]] = value


def matching(run: Run, chosen: Filters) -> np.ndarray:
    """The rows of the examples that pass the filters, in their order, int64; shared, not to be changed."""
    return _matching(run, run.version, run.decisions.version(), chosen)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs={Filters: repr})
def _matching(_run: Run, version: str, decisions: int, chosen: Filters) -> np.ndarray:  # noqa: ARG001 (a cache key)
    frame = examples(_run)
    keep = np.ones(len(frame), dtype=bool)
    for column, values in (
        ("label_name", chosen.classes),
        ("predicted_name", chosen.predicted),
        ("action", chosen.decisions),
        (chosen.group, chosen.group_values),
    ):
        if column is not None and values:
            keep &= frame[column].isin(values).to_numpy()
    for column, low, high in (
        (chosen.score, chosen.low, chosen.high),
        ("label", chosen.value_low, chosen.value_high),
    ):
        if low is not None:
            keep &= frame[column].to_numpy() >= low
        if high is not None:
            keep &= frame[column].to_numpy() <= high
    if chosen.wrong_only:
        keep &= ~frame["correct"].to_numpy(dtype=bool)
    if chosen.text:
        keep &= frame["id"].str.contains(chosen.text, case=False, regex=False).to_numpy()
    if chosen.selection:
        keep &= np.isin(frame["row"], chosen.selection)
    return ranked(frame.loc[keep, ["row", chosen.score]], chosen.score, chosen.descending)["row"].to_numpy()


def ranked(frame: pd.DataFrame, score: str, descending: bool = True) -> pd.DataFrame:
    """Sorted by a score; equal scores stay in the dataset's order, missing ones come last."""
    return frame.sort_values(score, ascending=not descending, kind="stable", na_position="last")


def suspicious_end(run: Run, score: str) -> bool:
    """Whether the highest values of a score hint at a wrong label (else the lowest)."""
    return run.measure(score).suspicious != "low"


def open_example(run: Run, example_id: str) -> NoReturn:
    """Goes to an example's page."""
    st.switch_page(PAGES["example"], query_params={"run": run.id, "id": example_id})


def open_evaluation(run: Run, row: int) -> NoReturn:
    """Goes to the page of an evaluation example, by its position in ``run.evaluation``; two splits may share ids."""
    st.switch_page(PAGES["example"], query_params={"run": run.id, "evaluation": str(row)})


def go(page: str, run: Run) -> NoReturn:
    """Goes to another page of the same run."""
    st.switch_page(PAGES[page], query_params={"run": run.id})


def decide(run: Run, ids: list[str], action: str, new_label: float | None = None) -> None:
    """Records a decision; tells the user when it can't be saved."""
    try:
        run.decisions.record(ids, action, new_label)
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def undo(run: Run, example_id: str | None = None) -> None:
    """Takes back the latest decision (about this example), and says which."""
    cancelled = run.decisions.undo(example_id)
    if not cancelled:
        st.toast("Nothing to undo.", icon=":material/undo:")
        return
    what = plain(cancelled[0].example) if len(cancelled) == 1 else f"{len(cancelled)} examples"
    st.toast(f"Undone: {cancelled[0].action} of {what}.", icon=":material/undo:")
