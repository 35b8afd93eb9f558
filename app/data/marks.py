"""What the log of a run says about few of its examples: tags, notes, and where reviewers disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from attribution_core.runs import Run
from attribution_core.runs.agreement import decided
from samplescope_app.wording import labels

_KEY = ["split", "id"]


def add(run: Run, frame: pd.DataFrame) -> None:
    """Add columns to a table of examples: tags (a tuple of texts), note and disagreement ("" for none).

    Args:
        run: The run.
        frame: Examples with their split and id; changed in place.
    """
    annotations = run.decisions.annotations.current().set_index(_KEY)
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


def disagreements(run: Run) -> pd.Series:
    """Return what each reviewer decided, such as "ann: drop, ben: relabel Coat", of the examples where they differ.

    Returns:
        Texts, by split and id.
    """
    choices = decided(run.decisions.by_reviewer())
    split = choices[choices.nunique(axis="columns") > 1]
    texts = [_in_words(run, row.dropna()) for _, row in split.iterrows()]
    return pd.Series(texts, index=split.index, dtype="object")


def _in_words(run: Run, choices: pd.Series) -> str:
    return ", ".join(f"{name}: {labels.action_in_words(run, choice)}" for name, choice in choices.items())
