"""Compare the probabilities that label quality states with how often it is right. Imports no torch, for the app.

Classes have a reliability diagram (Guo et al., "On calibration of modern neural networks", ICML 2017): of the examples
whose suggested label is stated with a probability of about 0.8, 80% should have that label. Values have intervals: of
those that should hold a value with a chance of 0.8, 80% should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution_core.methods.linearized.defaults import FREEDOM
from attribution_core.runs.labels import changed_labels

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Hold stated probabilities in ascending bins, and how often what they are stated of is so.

    Attributes:
        stated: Mean probability stated in each bin that has examples, ``[b]``.
        observed: Share of the bin's examples that are as stated, ``[b]``.
        counts: Number of the bin's examples, int64 ``[b]``.
    """

    stated: np.ndarray
    observed: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of stated and observed over the examples; NaN for none."""
        if not self.counts.sum():
            return float("nan")
        return float(np.average(np.abs(self.observed - self.stated), weights=self.counts))


def calibration(stated: np.ndarray, right: np.ndarray, bins: int = BINS) -> Calibration:
    """Group examples by the probability stated of them, in bins of equal width, and count how many are as stated.

    Args:
        stated: Probabilities in 0..1, ``[n]``.
        right: Whether each example is as stated, bool ``[n]``.
        bins: Number of bins; those without an example are left out.
    """
    place = np.clip((np.asarray(stated) * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (stated, np.asarray(right, dtype=float))]
    kept = counts > 0
    means, shares = (values[kept] / counts[kept] for values in sums)
    return Calibration(means, shares, counts[kept])


def coverage(quality: np.ndarray, bins: int = BINS) -> Calibration:
    """Count how many values lie within the interval that should hold them with each of some chances.

    Args:
        quality: Chances of an error at least as large, ``[n]``: the label quality of values.
        bins: The chances are ``1 / bins, 2 / bins, ...`` below one. Every interval counts all examples.
    """
    chances = np.arange(1, bins) / bins
    shares = np.array([np.mean(1 - np.asarray(quality) <= chance) for chance in chances])
    return Calibration(chances, shares, np.full(len(chances), len(quality)))


def label_calibration(examples: pd.DataFrame, true_labels: bool = False) -> Calibration | None:
    """Return how well label quality is calibrated on the examples of a table of a run.

    Args:
        examples: A table with the columns of label quality; values have no column ``suggested_confidence``.
        true_labels: Compare with ``original_label``, the true labels where they are known, in place of the given ones.

    Returns:
        For classes, the probability of the suggested label against the share of examples that have it; for values,
        :func:`coverage`. None if the table lacks a column or has no example.
    """
    needed = {"label_quality", "suggested_label", *(["original_label"] if true_labels else [])}
    if not needed <= set(examples.columns):
        return None
    if true_labels:
        examples = examples[examples["original_label"].notna()]
    if examples.empty:
        return None
    if "suggested_confidence" not in examples:
        return coverage(_chances_of_true(examples) if true_labels else examples["label_quality"].to_numpy())
    right = (examples["suggested_label"] == examples["label"]).to_numpy()
    if true_labels:
        suggested = examples.assign(label=examples["suggested_label"], label_name=examples["suggested_name"])
        changed = changed_labels(suggested)
        assert changed is not None
        right = ~changed
    return calibration(examples["suggested_confidence"].to_numpy(dtype="float64"), right)


def _chances_of_true(examples: pd.DataFrame) -> np.ndarray:
    """Return the chance of an error at least as large as that of the true value, which may not be the given one.

    The scale of the errors follows from the given value's error and chance.
    """
    from scipy.special import stdtr, stdtrit  # here, since classes need none and loading takes time

    columns = ("label", "original_label", "suggested_label", "label_quality")
    given, true, suggested, quality = (examples[name].to_numpy(dtype="float64") for name in columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(true - suggested) / np.abs(given - suggested)
        chances = 2 * stdtr(FREEDOM, stdtrit(FREEDOM, quality / 2) * relative)
    return np.where(given == true, quality, chances)
