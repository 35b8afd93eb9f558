"""The training examples as the session's decisions leave them, and the decisions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.labels import label_names
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain


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


def ranked(frame: pd.DataFrame, score: str, descending: bool = True) -> pd.DataFrame:
    """Sorted by a score; equal scores stay in the dataset's order, missing ones come last."""
    return frame.sort_values(score, ascending=not descending, kind="stable", na_position="last")


def suspicious_end(run: Run, score: str) -> bool:
    """Whether the highest values of a score hint at a wrong label (else the lowest)."""
    return run.measure(score).suspicious != "low"


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
