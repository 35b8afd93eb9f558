"""The training examples with their percentiles and decisions, and the recording of decisions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.decisions import Action
from attribution_core.runs.labels import label_names
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain


def examples(run: Run) -> pd.DataFrame:
    """Return the training examples with their decisions; all sessions share the table, so do not change it.

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
    """Return the examples sorted by a score: ties in the order of the dataset, missing scores last."""
    return frame.sort_values(score, ascending=not descending, kind="stable", na_position="last")


def suspicious_end(run: Run, score: str) -> bool:
    """Return whether the highest values of a score hint at a wrong label, rather than the lowest."""
    return run.measure(score).suspicious != "low"


def decide(run: Run, ids: list[str], action: Action, new_label: float | None = None) -> None:
    """Record a decision, or show why it cannot be saved."""
    try:
        run.decisions.record(ids, action, new_label)
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def undo(run: Run, example_id: str | None = None) -> None:
    """Undo the latest decision, of all or about one example, and show which one it was."""
    cancelled = run.decisions.undo(example_id)
    if not cancelled:
        st.toast("Nothing to undo.", icon=":material/undo:")
        return
    what = plain(cancelled[0].example) if len(cancelled) == 1 else f"{len(cancelled)} examples"
    st.toast(f"Undone: {cancelled[0].action} of {what}.", icon=":material/undo:")
