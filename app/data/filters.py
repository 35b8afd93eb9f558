"""The filters and the order of Browse, which Example and Map share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import session
from samplescope_app.wording import labels


@dataclass(frozen=True)
class Filters:
    """The examples that Browse shows, and their order; Example steps through the same list.

    ``split`` is train, validation or test. ``classes``, ``predicted`` and ``wrong_only`` apply to classification,
    ``value_low`` and ``value_high`` to regression. ``selection`` holds the training rows selected on the map; if it is
    empty, every row passes.
    """

    score: str
    descending: bool = True
    split: str = "train"
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


# Filter -> key of its widget. The session keeps the values, so that they survive a visit to another page.
KEYS = {name: f"browse {name}" for name in Filters.__dataclass_fields__}


def current(run: Run) -> Filters:
    """Return the filters of the session."""
    values = {name: st.session_state[key] for name, key in KEYS.items() if st.session_state.get(key) is not None}
    if values.get("score") not in run.scores:
        values["score"] = default_score(run)
    if values.get("split") not in session.splits_of(run, values["score"]) or values.get("selection"):
        values.pop("split", None)
    if values.get("group") not in labels.kinds(run):
        values.pop("group", None)
    values.setdefault("descending", session.suspicious_end(run, values["score"]))
    return Filters(**values)


def default_score(run: Run) -> str:
    """Return the run's first measure, else its first diagnostic."""
    return run.scores[0]


def clear() -> None:
    """Clear all filters, so that every example is listed, the suspicious end of the first score first."""
    for key in [*KEYS.values(), "browse page"]:
        st.session_state.pop(key, None)


def follow_score() -> None:
    """Start with the suspicious end of the score that was just chosen."""
    st.session_state.pop(KEYS["descending"], None)


def clear_selection() -> None:
    """Clear the selection made on the map and keep the other filters."""
    st.session_state.pop(KEYS["selection"], None)


def replace(**values: Any) -> None:
    """Replace all filters with the given ones."""
    clear()
    for name, value in values.items():
        st.session_state[KEYS[name]] = value


def table(run: Run, split: str) -> pd.DataFrame:
    """Return the table that :func:`matching` gives positions in: in both, training examples come first."""
    return session.examples(run) if split == "train" else session.everything(run)


def matching(run: Run, chosen: Filters) -> np.ndarray:
    """Return the positions of the examples that pass the filters, in order, int64; shared, so do not change the array.

    Returns:
        Positions in ``session.everything``, which are rows for training examples.
    """
    return _matching(run, run.version, run.decisions.version(), chosen)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs={Filters: repr})
def _matching(_run: Run, version: str, decisions: int, chosen: Filters) -> np.ndarray:  # noqa: ARG001 (a cache key)
    frame = table(_run, chosen.split)
    keep = np.array(frame["split"] == chosen.split)
    for column, values in (
        ("label_name", chosen.classes),
        ("predicted_name", chosen.predicted),
        ("action", chosen.decisions),
        (chosen.group, chosen.group_values),
    ):
        if column is not None and values and column in frame:
            keep &= frame[column].isin(values).to_numpy()
    for column, low, high in (
        (chosen.score, chosen.low, chosen.high),
        ("label", chosen.value_low, chosen.value_high),
    ):
        if low is not None:
            keep &= frame[column].to_numpy() >= low
        if high is not None:
            keep &= frame[column].to_numpy() <= high
    if chosen.wrong_only and "correct" in frame:
        keep &= ~frame["correct"].to_numpy(dtype=bool)
    if chosen.text:
        keep &= frame["id"].str.contains(chosen.text, case=False, regex=False).to_numpy()
    if chosen.selection:
        keep &= np.isin(frame["row"], chosen.selection)
    passed = pd.DataFrame({chosen.score: frame[chosen.score].to_numpy()[keep]}, index=np.flatnonzero(keep))
    return session.ranked(passed, chosen.score, chosen.descending).index.to_numpy()
