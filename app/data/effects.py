"""Effects and similarities of single examples, read fast enough for a click at 50,000 x 1,000."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import streamlit as st

from attribution_core.runs import CredibleEffects, Run
from samplescope_app.wording.text import format_score

SplitName = Literal["train", "evaluation"]


@dataclass(frozen=True)
class Ranked:
    """Rows of a table with a value each, strongest first.

    Attributes:
        rows: Positions in the table, int64.
        values: Effects or similarities, float32.
        beyond: Which effects are not credible, bool; None if all are, or if that is unknown.
    """

    rows: np.ndarray
    values: np.ndarray
    beyond: np.ndarray | None = None


def title(run: Run, method: str) -> str:
    """Return the title of a method of effects."""
    return run.measure(method).title if method in run.known_measures else method


def unit(run: Run, method: str) -> str:
    """Return the unit of a method's effects."""
    return (run.measure(method).unit if method in run.known_measures else "") or "its own unit"


def columns(run: Run) -> int:
    """Return the number of evaluation examples with effects: the first ones, of the validation split; 0 if none."""
    methods = run.effect_methods
    return run.effects(methods[0]).shape[1] if methods else 0


def of_training_example(run: Run, method: str, row: int) -> np.ndarray:
    """Return the effects of a training example on each evaluation example, float32 ``[m]`` in the method's unit."""
    return _row(run, run.version, method, row)


def on_evaluation_example(run: Run, method: str, row: int) -> np.ndarray:
    """Return the effects of each training example on an evaluation example, float32 ``[n]`` in the method's unit."""
    return _column(run, run.version, method, row)


def on_evaluation_examples(run: Run, method: str, rows: tuple[int, ...]) -> np.ndarray:
    """Return the mean effect of each training example on some evaluation examples, float32 ``[n]``."""
    return _mean_of_columns(run, run.version, method, rows)


@st.cache_resource(max_entries=16, show_spinner=False)
def _mean_of_columns(_run: Run, version: str, method: str, rows: tuple[int, ...]) -> np.ndarray:  # noqa: ARG001 (a cache key)
    return np.asarray(_run.effects(method).oindex[:, np.array(rows)]).mean(axis=1)


@st.cache_resource(max_entries=64, show_spinner=False)
def _row(_run: Run, version: str, method: str, row: int) -> np.ndarray:  # noqa: ARG001 (a cache key)
    return np.asarray(_run.effects(method)[row])


@st.cache_resource(max_entries=64, show_spinner=False)
def _column(_run: Run, version: str, method: str, row: int) -> np.ndarray:  # noqa: ARG001 (a cache key)
    return np.asarray(_run.effects(method)[:, row])


def credible(run: Run, method: str) -> CredibleEffects | None:
    """Return which effects by a method are credible; None if the run does not know it."""
    return _credible(run, run.version, method)


def not_credible(run: Run, method: str, effects: np.ndarray, evaluated: int | slice = slice(None)) -> np.ndarray:
    """Return which effects are more than removing one example can do, bool; none if the run does not know.

    Args:
        run: The run.
        method: The method that they are by.
        effects: Effects on each evaluation example ``[m]``, or of any examples on a single one.
        evaluated: Positions of the evaluation examples.
    """
    found = credible(run, method)
    return np.zeros(effects.shape, dtype=bool) if found is None else found.excludes(effects, evaluated)


def largest_credible_rise(run: Run, method: str) -> str:
    """Return the largest credible rise of a loss by a method, with its unit; empty if the run does not know it."""
    found = credible(run, method)
    return "" if found is None else f"{format_score(found.highest)} {unit(run, method)}"


@st.cache_resource(max_entries=16, show_spinner=False)
def _credible(_run: Run, version: str, method: str) -> CredibleEffects | None:  # noqa: ARG001 (a cache key)
    return _run.credible_effects(method)


def strongest(effects: np.ndarray, count: int, beyond: np.ndarray | None = None) -> tuple[Ranked, Ranked]:
    """Return the most helpful and the most harmful effects; zeros and NaNs are neither.

    Args:
        effects: Effects, ``[rows]``.
        count: Largest number of each, at least 1.
        beyond: Which effects are not credible, bool ``[rows]``.
    """
    ranked = _highest(effects, count), _negated(_highest(-effects, count))
    if beyond is None:
        return ranked
    helpful, harmful = (replace(each, beyond=beyond[each.rows]) for each in ranked)
    return helpful, harmful


def _highest(values: np.ndarray, count: int) -> Ranked:
    """Return the ``count`` highest positive values, highest first."""
    positive = np.flatnonzero(values > 0)
    if len(positive) > count:
        positive = positive[np.argpartition(-values[positive], count - 1)[:count]]
    rows = positive[np.argsort(-values[positive], kind="stable")]
    return Ranked(rows, values[rows])


def _negated(ranked: Ranked) -> Ranked:
    return Ranked(ranked.rows, -ranked.values)


def nearest(run: Run, split: SplitName, row: int, count: int) -> Ranked:
    """Return the training examples most similar to a row of a table, by the trained network's embeddings.

    The search is brute force over the embeddings on disk; only their norms are kept in memory.

    Returns:
        The nearest rows with their cosines, without the row itself; an embedding of zeros has no neighbors.

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
