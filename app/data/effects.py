"""Single effects and similarities of a run, read so that a click is answered at once at 50,000 x 1,000."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import streamlit as st

from attribution_core.runs import Run

SplitName = Literal["train", "evaluation"]


@dataclass(frozen=True)
class Ranked:
    """Some rows of a table, strongest first, with the value of each.

    Attributes:
        rows: Positions in the table, int64.
        values: Effects or similarities, float32.
    """

    rows: np.ndarray
    values: np.ndarray


def title(run: Run, method: str) -> str:
    """A method of effects, for people."""
    return run.measure(method).title if method in run.known_measures else method


def unit(run: Run, method: str) -> str:
    """The unit of its effects."""
    return (run.measure(method).unit if method in run.known_measures else "") or "its own unit"


def columns(run: Run) -> int:
    """How many of the first evaluation examples have effects: those of validation; 0 in a run without any."""
    methods = run.effect_methods
    return run.effects(methods[0]).shape[1] if methods else 0


def of_training_example(run: Run, method: str, row: int) -> np.ndarray:
    """What a training example does to each evaluation example, float32 ``[m]`` in the method's unit."""
    return _row(run, run.version, method, row)


def on_evaluation_example(run: Run, method: str, row: int) -> np.ndarray:
    """What each training example does to an evaluation example, float32 ``[n]`` in the method's unit."""
    return _column(run, run.version, method, row)


@st.cache_resource(max_entries=64, show_spinner=False)
def _row(_run: Run, version: str, method: str, row: int) -> np.ndarray:  # noqa: ARG001 (a cache key)
    return np.asarray(_run.effects(method)[row])


@st.cache_resource(max_entries=64, show_spinner=False)
def _column(_run: Run, version: str, method: str, row: int) -> np.ndarray:  # noqa: ARG001 (a cache key)
    return np.asarray(_run.effects(method)[:, row])


def strongest(effects: np.ndarray, count: int) -> tuple[Ranked, Ranked]:
    """The most helpful and the most harmful of some effects, ``count`` at most of each; zeros are neither.

    Args:
        effects: ``[rows]``; a NaN is neither.
        count: One or more.
    """
    return _highest(effects, count), _negated(_highest(-effects, count))


def _highest(values: np.ndarray, count: int) -> Ranked:
    """The highest positive ones, highest first."""
    positive = np.flatnonzero(values > 0)
    if len(positive) > count:
        positive = positive[np.argpartition(-values[positive], count - 1)[:count]]
    rows = positive[np.argsort(-values[positive], kind="stable")]
    return Ranked(rows, values[rows])


def _negated(ranked: Ranked) -> Ranked:
    return Ranked(ranked.rows, -ranked.values)


def nearest(run: Run, split: SplitName, row: int, count: int) -> Ranked:
    """The training examples most alike to a row of a table, as the trained network sees them; never the row itself.

    Brute force over the embeddings as they lie on the disk: only their norms are kept in memory.

    Returns:
        With cosines; an embedding of zeros is like nothing.

    Raises:
        InputError: If the run has no embeddings.
    """
    query = np.asarray(run.embeddings(split)[row])
    scale = _norms(run, run.version) * np.linalg.norm(query)
    dots = run.embeddings("train") @ query
    cosines = np.divide(dots, scale, out=np.full_like(dots, -np.inf), where=scale > 0)
    if split == "train":
        cosines[row] = -np.inf
    count = min(count, len(cosines))
    rows = np.argpartition(-cosines, count - 1)[:count]
    rows = rows[np.isfinite(cosines[rows])]
    rows = rows[np.argsort(-cosines[rows], kind="stable")]
    return Ranked(rows, cosines[rows])


@st.cache_resource(max_entries=8, show_spinner=False)
def _norms(_run: Run, version: str) -> np.ndarray:  # noqa: ARG001 (a cache key)
    embeddings = _run.embeddings("train")
    return np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings))
