"""The examples of a run with their percentiles and decisions, and the recording of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.decisions import Action, Split
from attribution_core.runs.labels import label_names
from attribution_core.runs.store import SplitName
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain


def examples(run: Run) -> pd.DataFrame:
    """Return the training examples with their decisions; all sessions share the table, so do not change it.

    Returns:
        ``run.examples`` with ``row``, ``split``, ``action``, ``new_label_name`` and a column ``SCORE percentile`` for
        each score.
    """
    return _with_decisions(run, run.version, run.decisions.version(), "train")


def evaluation(run: Run) -> pd.DataFrame:
    """Return the validation and test examples as :func:`examples` returns those of training.

    They have some of the scores only; a percentile is among the examples of the same split.
    """
    return _with_decisions(run, run.version, run.decisions.version(), "evaluation")


def everything(run: Run) -> pd.DataFrame:
    """Return the examples of all splits, with missing scores where examples do not have them."""
    return _everything(run, run.version, run.decisions.version())


@st.cache_resource(max_entries=2, show_spinner=False)
def _everything(_run: Run, version: str, decisions: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    return pd.concat([examples(_run), evaluation(_run)], ignore_index=True)


@st.cache_resource(max_entries=8, show_spinner=False)
def _with_decisions(_run: Run, version: str, decisions: int, table: SplitName) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = _with_percentiles(_run, version, table).copy()
    cleaned = _run.cleaned_labels(table)
    frame["split"] = cleaned["split"].to_numpy()
    frame["action"] = cleaned["action"].to_numpy()
    frame["new_label_name"] = label_names(cleaned["label"].to_numpy(), _run.class_names)
    return frame


@st.cache_resource(max_entries=8, show_spinner=False)
def _with_percentiles(_run: Run, version: str, table: SplitName) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = (_run.examples if table == "train" else _run.evaluation).copy()
    frame["row"] = np.arange(len(frame))
    for score in scores_of(_run, table):
        ranks = frame[score] if table == "train" else frame.groupby("split")[score]
        frame[f"{score} percentile"] = ranks.rank(pct=True) * 100
    for group in _run.groups:
        if group in frame:
            frame[group] = labels.group_names(_run, frame[group])
    return frame


def scores_of(run: Run, table: SplitName) -> list[str]:
    """Return the scores that the examples of a table have."""
    return run.scores if table == "train" else [name for name in run.scores if name in run.evaluation.columns]


def splits_of(run: Run, score: str) -> list[str]:
    """Return the splits whose examples have a score."""
    return ["train", *(("validation", "test") if score in scores_of(run, "evaluation") else ())]


def key(row: Row) -> str:
    """Return what identifies an example among those of all splits, whose ids are unique within a split only."""
    return f"{row['split']}/{row['id']}"


def split_and_id(key: str) -> tuple[Split, str]:
    """Return the split and the id of the example with this key."""
    split, _, example_id = key.partition("/")
    return cast(Split, split), example_id


def ranked(frame: pd.DataFrame, score: str, descending: bool = True) -> pd.DataFrame:
    """Return the examples sorted by a score: ties in the order of the dataset, missing scores last."""
    return frame.sort_values(score, ascending=not descending, kind="stable", na_position="last")


def suspicious_end(run: Run, score: str) -> bool:
    """Return whether the highest values of a score hint at a wrong label, rather than the lowest."""
    return run.measure(score).suspicious != "low"


def decide(run: Run, keys: Sequence[str], action: Action, new_label: float | None = None) -> None:
    """Record a decision about examples, by their keys, or show why it cannot be saved; a step for each split."""
    ids: dict[Split, list[str]] = {}
    for split, example_id in map(split_and_id, keys):
        ids.setdefault(split, []).append(example_id)
    try:
        for split, of_split in ids.items():
            run.decisions.record(of_split, action, new_label, split)
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def undo(run: Run, key: str | None = None) -> None:
    """Undo the latest decision, of all or about the example of this key, and show which one it was."""
    if key is None:
        cancelled = run.decisions.undo()
    else:
        split, example_id = split_and_id(key)
        cancelled = run.decisions.undo(example_id, split)
    if not cancelled:
        st.toast("Nothing to undo.", icon=":material/undo:")
        return
    first = cancelled[0]
    one = plain(first.example) if first.split == "train" else f"{first.split} example {plain(first.example)}"
    what = one if len(cancelled) == 1 else f"{len(cancelled)} examples"
    st.toast(f"Undone: {first.action} of {what}.", icon=":material/undo:")
