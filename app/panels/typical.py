"""Clear cases of a label, to compare an example with."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.data import navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_TYPICAL = 10


def strips(run: Run, row: dict[str, Any], score: str, key: str) -> None:
    """Clear cases of the label, and of the prediction where it differs: what the example is to be compared with."""
    frame = session.examples(run)
    compared = [row["label"], row["predicted"]] if labels.is_far(run, row) else [row["label"]]
    for number, label in enumerate(compared):
        chosen = typical(run, frame, label, score) if run.values is None else about(frame, label, row["id"])
        if chosen.empty:
            continue
        if run.values is None:
            name = f"Typical {run.class_names[label]}"
            st.caption(f"{plain(name)}: the model is right, and least informative")
        else:
            name = f"Others of about {labels.value_text(run, label)}"
            whose = "its value" if number == 0 else "what the model says of it"
            st.caption(f"{plain(name)}, {whose}: {plain(labels.value_range(run, chosen['label']))}, predicted well")
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
            navigation.open_example(run, answer.opened)


def typical(run: Run, frame: pd.DataFrame, label: int, score: str) -> pd.DataFrame:
    """Examples of a class that the model gets right and that are farthest from the suspicious end of a score."""
    members = frame[(frame["label"] == label) & frame["correct"]]
    return session.ranked(members, score, descending=not session.suspicious_end(run, score)).head(_TYPICAL)


def about(frame: pd.DataFrame, value: float, without: str) -> pd.DataFrame:
    """The examples whose values are nearest to a value, of that half which is predicted better; ``without`` one id."""
    off = frame["residual"].abs()
    members = frame[(off <= off.median()) & (frame["id"] != without)]
    nearest = (members["label"] - value).abs().sort_values(kind="stable").index[:_TYPICAL]
    return members.loc[nearest]
