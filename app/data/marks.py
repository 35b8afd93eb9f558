"""What the log of a run says about few of its examples: tags, notes, and where reviewers disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.agreement import disputed
from samplescope_app.wording import labels

_KEY = ["split", "id"]


def add(run: Run, frame: pd.DataFrame) -> None:
    """Add columns to a table of examples: tags (a tuple of texts), note and disagreement ("" for none).

    Args:
        run: The run.
        frame: Examples with their split and id; changed in place.
    """
    annotations = _annotations(run, run.version, run.decisions.annotations.version())
    split = disagreements(run)
    examples = pd.MultiIndex.from_frame(frame[_KEY]) if len(annotations) or len(split) else None
    columns: dict[str, tuple[pd.Series, object]] = {
        "tags": (annotations["tags"], ()),
        "note": (annotations["note"], ""),
        "disagreement": (split, ""),
    }
    for name, (marks, missing) in columns.items():
        values = np.empty(len(frame), dtype=object)
        values.fill(missing)
        if examples is not None and len(marks):
            rows = examples.get_indexer(marks.index)
            values[rows[rows >= 0]] = marks.to_numpy(dtype=object)[rows >= 0]
        frame[name] = values


@st.cache_resource(max_entries=4, show_spinner=False)
def _annotations(_run: Run, version: str, annotations: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return tags and notes by split and id, which a decision does not change."""
    return _run.decisions.annotations.current().set_index(_KEY)


def disagreements(run: Run) -> pd.Series:
    """Return what each reviewer decided, such as "ann: drop, ben: relabel Coat", of the examples where they differ.

    Returns:
        Texts, by split and id.
    """
    if len(run.decisions.history.reviewers()) < 2:  # by far the usual case, told in no time
        return pd.Series(dtype="object")
    choices = disputed(run.decisions.by_reviewer())
    words = {choice: labels.action_in_words(run, choice) for choice in choices["choice"].unique()}
    said = choices["reviewer"] + ": " + choices["choice"].map(words).astype("str")
    return said.groupby([choices["split"], choices["id"]]).agg(", ".join).astype("object")
