"""What the log of a run says about few of its examples: decisions, tags, notes, and where reviewers disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.agreement import disputed
from attribution_core.runs.labels import label_names
from samplescope_app.wording import labels


def add(run: Run, frame: pd.DataFrame, index: pd.Index, start: int) -> None:
    """Add columns to a table of examples: what was decided and said about each.

    They are action ("" for none), new_label_name (that of the data for none) and reviewer of the decision; disagreement
    ("" for none), tags (a tuple of texts) and note. It costs a few copies of a column, and a lookup for each example
    that something is said about.

    Args:
        run: The run.
        frame: Examples; only new columns are written.
        index: Keys, such as ``train/17``, of all examples of the run.
        start: Position in ``index`` of the table's first example.
    """
    annotations = _annotations(run, run.version, run.decisions.annotations.version())
    decisions = run.decisions.current()
    decisions.index = pd.Index(_keys(decisions))
    relabeled = decisions["new_label"].dropna()
    names = label_names(relabeled.to_numpy(dtype="int64" if run.values is None else "float64"), run.class_names)
    columns: dict[str, tuple[pd.Series, object]] = {
        "action": (decisions["action"], ""),
        "new_label_name": (pd.Series(names, relabeled.index, dtype="object"), frame["label_name"]),
        "reviewer": (decisions["reviewer"], ""),
        "tags": (annotations["tags"], ()),
        "note": (annotations["note"], ""),
        "disagreement": (disagreements(run), ""),
    }
    for name, (said, otherwise) in columns.items():
        if isinstance(otherwise, pd.Series):
            values = otherwise.to_numpy(dtype=object, copy=True)
        else:
            values = np.empty(len(frame), dtype=object)
            values.fill(otherwise)
        if len(said):
            rows = index.get_indexer(said.index) - start
            here = (rows >= 0) & (rows < len(frame))
            values[rows[here]] = said.to_numpy(dtype=object)[here]
        # Without the type, pandas looks at every value to choose one.
        frame[name] = pd.Series(values, frame.index, dtype="object", copy=False)


@st.cache_resource(max_entries=4, show_spinner=False)
def _annotations(_run: Run, version: str, annotations: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return tags and notes by key, which a decision does not change."""
    found = _run.decisions.annotations.current()
    found.index = pd.Index(_keys(found))
    return found


def disagreements(run: Run) -> pd.Series:
    """Return what each reviewer decided, such as "ann: drop, ben: relabel Coat", of the examples where they differ.

    Returns:
        Texts, by key.
    """
    if len(run.decisions.history.reviewers()) < 2:  # by far the usual case, told in no time
        return pd.Series(dtype="object")
    choices = disputed(run.decisions.by_reviewer())
    words = {choice: labels.action_in_words(run, choice) for choice in choices["choice"].unique()}
    said = choices["reviewer"] + ": " + choices["choice"].map(words).astype("str")
    return said.groupby(np.array(_keys(choices), dtype=object)).agg(", ".join).astype("object")


def _keys(rows: pd.DataFrame) -> list[str]:
    return [f"{split}/{example_id}" for split, example_id in zip(rows["split"], rows["id"], strict=True)]
