"""Typical examples of a label, to compare an example with."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.data import navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

_TYPICAL = 10


def strips(run: Run, row: Row, score: str, key: str) -> None:
    """Draw typical examples of the label, and of the prediction if it differs, to compare an example with."""
    frame = session.examples(run)
    compared = [row["label"], row["predicted"]] if labels.is_far(run, row) else [row["label"]]
    itself = row["id"] if row["split"] == "train" else ""
    for number, label in enumerate(compared):
        chosen = typical(run, frame, label, score) if run.values is None else near(frame, label, itself)
        if chosen.empty:
            continue
        if run.values is None:
            name = f"Typical {run.class_names[label]}"
            which = "predicted as labeled, " if run.has_predictions else ""
            st.caption(f"{plain(name)}: {which}least suspicious first")
        else:
            name = f"Other examples near {labels.value_text(run, label)}"
            whose = "its value" if number == 0 else "its prediction"
            which = ", predicted closely" if run.has_predictions else ""
            st.caption(f"{plain(name)}, {whose}: {plain(labels.value_range(run, chosen['label']))}{which}")
        answer = gallery(
            run,
            chosen,
            score,
            key=f"{key} typical {number}",
            name=name,
            layout="strip",
            size=72,
            captions=run.values is not None,
        )
        if answer.opened is not None:
            navigation.open_tile(run, answer.opened)


def typical(run: Run, frame: pd.DataFrame, label: int, score: str) -> pd.DataFrame:
    """Return correctly predicted examples of a class, those farthest from the suspicious end of a score first."""
    members = frame[frame["label"] == label]
    members = members[members["correct"]] if run.has_predictions else members
    return session.ranked(members, score, descending=not session.suspicious_end(run, score), most=_TYPICAL)


def near(frame: pd.DataFrame, value: float, without: str) -> pd.DataFrame:
    """Return the examples nearest to a value, among the better-predicted half and ``without`` one id."""
    members = frame[frame["id"] != without]
    if "residual" in members:
        off = members["residual"].abs()
        members = members[off <= frame["residual"].abs().median()]
    nearest = (members["label"] - value).abs().sort_values(kind="stable").index[:_TYPICAL]
    return members.loc[nearest]
