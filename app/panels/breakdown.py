"""The examples of each class, or of each value of a group, as a table; a click on a row opens its tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.table import height_of
from samplescope_app.data import filters, navigation, session
from samplescope_app.data.query import AnyOf
from samplescope_app.wording import labels

_ROWS = 12  # without scrolling
_SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}


def draw(run: Run) -> None:
    """Draw the table; nothing for a run without classes and groups."""
    kinds = {"class": "Class"} if run.values is None else {}
    kinds |= {group: labels.group_title(run, group).capitalize() for group in labels.kinds(run)}
    if not kinds:
        return
    st.markdown("##### Balance and quality")
    kind = st.segmented_control(
        "Rows", list(kinds), default=next(iter(kinds)), required=True, format_func=kinds.__getitem__, key="breakdown"
    )
    if kind not in kinds:  # of the run before
        kind = next(iter(kinds))
    found = table(run, kind, run.version, run.decisions.version())
    event = st.dataframe(
        found.rename_axis(kinds[kind]).reset_index(),
        hide_index=True,
        height=height_of(min(_ROWS, len(found))),
        key=f"breakdown {kind}",
        on_select="rerun",
        selection_mode="single-cell",
        column_config=_columns(found),
        alt=f"Number of examples, accuracy and label quality by {kinds[kind].lower()}",
    )
    st.caption("Click a row to browse its training examples. A model that never saw a suspect prefers another label.")
    for row, _ in event.selection.cells:
        condition = AnyOf(kind, (str(found.index[row]),))
        navigation.browse(run, replace(filters.default(run), conditions=(condition,)))


def _columns(found: pd.DataFrame) -> dict[Any, Any]:
    """Return how the columns are written; the share of training is a bar."""
    shown: dict[Any, Any] = {
        "Share": st.column_config.ProgressColumn("Share of training", format="percent", min_value=0.0, max_value=1.0)
    }
    for name in found.columns:
        if name.startswith(("Accuracy", "Suspects,")):
            shown[name] = st.column_config.NumberColumn(name, format="percent")
        elif name.startswith("Median"):
            shown[name] = st.column_config.NumberColumn(name, format="%.3g")
    return shown


@st.cache_resource(max_entries=8, show_spinner=False)
def table(_run: Run, kind: str, version: str, decisions: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return the facts about each class or value of a group.

    Args:
        _run: The run.
        kind: ``"class"`` or the name of a group column.
        version: Version of the run's files.
        decisions: Version of its decision log.

    Returns:
        A row for each value, the most frequent in training first: numbers of examples by split, the share of training,
        the accuracy by split, the median of the run's first score, the numbers of suspects and of decisions.
    """
    column = "label_name" if kind == "class" else kind
    frame = session.everything(_run)
    by = frame[column].astype("str")
    training = frame["split"] == "train"
    counts = pd.crosstab(by, frame["split"])
    found = pd.DataFrame(index=counts.index)
    for split, title in _SPLITS.items():
        if split in counts:
            found[title] = counts[split]
    found["Share"] = counts["train"] / counts["train"].sum()
    if "correct" in frame:
        right = frame["correct"].astype("float64").groupby([by, frame["split"]]).mean().unstack()
        for split, title in _SPLITS.items():
            if split in right and split != "train":
                found[f"Accuracy, {title.lower()}"] = right[split]
    score = _run.scores[0]
    found[f"Median {_run.measure(score).title_in_sentence}"] = frame[score][training].groupby(by[training]).median()
    if "suggested_label" in frame:
        judged = frame[training & frame["suggested_label"].notna()]
        suspect = (judged["suggested_label"] != judged["label"]).groupby(by[judged.index])
        found["Suspects"], found["Suspects, share"] = suspect.sum(), suspect.mean()
    found["Decided"] = (frame["action"] != "")[training].groupby(by[training]).sum()
    return found.sort_values("Training", ascending=False, kind="stable")
