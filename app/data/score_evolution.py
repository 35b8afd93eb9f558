"""Scores over training: the stored times, interpolation between them, and means over groups of examples."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.evaluation.comparison import rank_correlation
from attribution_core.runs import Run

_BETWEEN = 10  # slider steps from one stored time to the next
_CURVE_POINTS = 200
_GROUPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # upper ends of the rank groups, as fractions of the examples


@dataclass(frozen=True)
class ScoreEvolution:
    """A measure over training, in memory.

    Attributes:
        times: Steps or epochs, ascending, ``[times]``.
        values: Float32, ``[times, train]``.
    """

    times: np.ndarray
    values: np.ndarray

    def at(self, time: float) -> np.ndarray:
        """Return the measure at a time, ``[train]``, interpolated linearly in the logarithm of time."""
        after = int(np.searchsorted(self.times, time))
        if after < len(self.times) and self.times[after] == time:
            return self.values[after]
        if after in (0, len(self.times)):
            return self.values[min(after, len(self.times) - 1)]
        low, high = np.log(self.times[after - 1 : after + 1])
        share = (np.log(time) - low) / (high - low)
        return (1 - share) * self.values[after - 1] + share * self.values[after]

    def stores(self, time: float) -> bool:
        """Return whether a time is stored."""
        return bool((self.times == time).any())


@st.cache_resource(max_entries=8, show_spinner=False)
def read(_run: Run, version: str, measure: str) -> ScoreEvolution:  # noqa: ARG001 (a cache key)
    """Return a measure of the run over training; all sessions share it.

    Raises:
        InputError: If the run has no evolution of this measure.
    """
    times, matrix = _run.evolution(measure)
    return ScoreEvolution(times, np.asarray(matrix[:]))


def slider_times(times: np.ndarray) -> list[float]:
    """Return the stored times, with nine more between each two, evenly spaced in their logarithms."""
    positions = [float(times[0])]
    for low, high in itertools.pairwise(times):
        between = np.geomspace(low, high, _BETWEEN + 1)[1:-1]
        # Three digits are as exact as a slider, and readable.
        positions += [*(float(f"{time:.3g}") for time in between), float(high)]
    return list(dict.fromkeys(positions))


def steps_text(time: float) -> str:
    """Return a training time in three digits, such as "31,600 steps"."""
    return f"{float(f'{time:.3g}'):,.10g} steps"


@st.cache_data(max_entries=8, show_spinner=False)
def rank_agreements(_evolution: ScoreEvolution, _now: np.ndarray, version: str) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return the rank correlation of every stored time with the run's own score: columns series, x, y."""
    agreements = [rank_correlation(row, _now)[0] for row in _evolution.values]
    return pd.DataFrame({"series": "rank correlation", "x": _evolution.times, "y": agreements})


def ranked_points(scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return scores against their ranks, highest first, thinned evenly in the log of the rank: columns series, x, y."""
    frames = []
    for name, values in scores.items():
        descending = np.sort(values)[::-1]
        ranks = np.unique(np.geomspace(1, len(values), _CURVE_POINTS).round().astype(int))
        frames.append(pd.DataFrame({"series": name, "x": ranks, "y": descending[ranks - 1]}))
    return pd.concat(frames, ignore_index=True)


@st.cache_data(max_entries=8, show_spinner=False)
def group_means(_evolution: ScoreEvolution, version: str, measure: str) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return the means of groups of examples, by their final rank, over training: columns series, x, y."""
    order = np.argsort(-_evolution.values[-1], kind="stable")
    ends = np.unique([max(1, round(share * len(order))) for share in _GROUPS])
    frames, start = [], 0
    for end in ends:
        means = _evolution.values[:, order[start:end]].mean(axis=1)
        frames.append(pd.DataFrame({"series": _group_name(start, end, len(order)), "x": _evolution.times, "y": means}))
        start = end
    return pd.concat(frames, ignore_index=True)


def _group_name(start: int, end: int, total: int) -> str:
    low, high = (f"{100 * edge / total:.3g}" for edge in (start, end))
    return f"top {high}%" if start == 0 else f"{low} to {high}%"


def strongest(evolution: ScoreEvolution, each: int) -> np.ndarray:
    """Return the rows with the ``each`` highest and ``each`` lowest sums over training, highest first."""
    order = np.argsort(-evolution.values.sum(axis=0), kind="stable")
    return np.r_[order[:each], order[max(each, len(order) - each) :]]
