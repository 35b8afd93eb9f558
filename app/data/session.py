"""The examples of a run with their percentiles and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.review_file import Split
from attribution_core.runs.store import SplitName
from samplescope_app.data import health, marks
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row


def examples(run: Run) -> pd.DataFrame:
    """Return the training examples with their decisions; all sessions share the table, so do not change it.

    Returns:
        ``run.examples`` with ``row``, ``split``, ``action``, ``new_label_name``, ``reviewer`` of the decision,
        ``disagreement`` (what each reviewer decided, where they differ; else ""), ``tags`` (a tuple), ``note`` and a
        column ``SCORE percentile`` for each score, and what :func:`health.add` adds.
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


def tags(run: Run) -> tuple[str, ...]:
    """Return the tags that examples of the run have, in alphabetical order."""
    return _tags(run, run.version, run.decisions.version())


@st.cache_resource(max_entries=8, show_spinner=False)
def _tags(_run: Run, version: str, decisions: int) -> tuple[str, ...]:  # noqa: ARG001 (a cache key)
    return tuple(sorted(_run.decisions.annotations.tags()))


# A decision adds columns to a table that it shares with all before, so it copies none of the others.


@st.cache_resource(max_entries=2, show_spinner=False)
def _everything(_run: Run, version: str, decisions: int) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = _both_tables(_run, version).copy(deep=False)
    marks.add(_run, frame, _index(_run, version), 0)
    return frame


@st.cache_resource(max_entries=8, show_spinner=False)
def _with_decisions(_run: Run, version: str, decisions: int, table: SplitName) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = _with_percentiles(_run, version, table).copy(deep=False)
    marks.add(_run, frame, _index(_run, version), 0 if table == "train" else len(_run.examples))
    return frame


@st.cache_resource(max_entries=2, show_spinner=False)
def _both_tables(_run: Run, version: str) -> pd.DataFrame:
    return pd.concat([_with_percentiles(_run, version, table) for table in ("train", "evaluation")], ignore_index=True)


@st.cache_resource(max_entries=8, show_spinner=False)
def _with_percentiles(_run: Run, version: str, table: SplitName) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    frame = (_run.examples if table == "train" else _run.evaluation).copy()
    frame["row"] = np.arange(len(frame))
    if table == "train":
        frame["split"] = "train"
    for score in scores_of(_run, table):
        ranks = frame[score] if table == "train" else frame.groupby("split")[score]
        frame[f"{score} percentile"] = ranks.rank(pct=True) * 100
    for group in _run.groups:
        if group in frame:
            frame[group] = labels.group_names(_run, frame[group])
    health.add(_run, frame, 0 if table == "train" else len(_run.examples))
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


def positions(run: Run, keys: Sequence[str]) -> np.ndarray:
    """Return the positions in :func:`everything` of the examples with these keys, int64; unknown keys have none."""
    found = _index(run, run.version).get_indexer(pd.Index(list(keys), dtype="object"))
    return found[found >= 0]


@st.cache_resource(max_entries=8, show_spinner=False)
def _index(_run: Run, version: str) -> pd.Index:  # noqa: ARG001 (a cache key)
    """Return the keys of all examples."""
    train, others = ("train/" + _run.examples["id"]), (_run.evaluation["split"] + "/" + _run.evaluation["id"])
    return pd.Index(pd.concat([train, others]).astype("object"))


def keys(frame: pd.DataFrame) -> list[str]:
    """Return the keys of some rows of :func:`everything`."""
    return (frame["split"] + "/" + frame["id"]).tolist()


def split_and_id(key: str) -> tuple[Split, str]:
    """Return the split and the id of the example with this key."""
    split, _, example_id = key.partition("/")
    return cast(Split, split), example_id


def ranked(frame: pd.DataFrame, score: str, descending: bool = True, most: int | None = None) -> pd.DataFrame:
    """Return the examples sorted by a score, or ``most`` of them: ties as in the dataset, missing scores last."""
    values = frame[score].to_numpy(dtype=np.float64)
    return frame.iloc[np.argsort(-values if descending else values, kind="stable")[:most]]


def suspicious_end(run: Run, score: str) -> bool:
    """Return whether the highest values of a score hint at a wrong label, rather than the lowest."""
    return run.measure(score).suspicious != "low"
