"""How many suggested labels would be right if they were accepted, from the probabilities that label quality states."""

from __future__ import annotations

import numpy as np
import pandas as pd

from attribution_core.evaluation.calibration import label_calibration

_STEPS = 200  # of expectation maximization, which needs about fifty


def expected_precision(examples: pd.DataFrame, chosen: np.ndarray, classes: int) -> tuple[float, float]:
    """Return between which shares of the suggestions for some examples can be expected to be right.

    The calibration curve says how often a label that is stated with a probability is the given one. It counts all
    examples, so for those whose given label is another one it is the most that can be hoped for. The least takes the
    given label as evidence: if a share e of all labels was replaced by another class at random, the label j was given,
    and s suggested, then s is right with probability ``p_s e / (k - 1) / ((1 - e) p_j + e (1 - p_j) / (k - 1))``. The
    share e is the one that makes the given labels most probable. It is low where the model learned from wrong labels.

    Args:
        examples: A table of a run with the columns of label quality of classes, ``[n]`` rows.
        chosen: Whether each example would be relabeled, bool ``[n]``.
        classes: Number of classes k.

    Returns:
        The least and the most; NaN if none is chosen or the table has no label quality.
    """
    curve = label_calibration(examples)
    if curve is None or not chosen.any():
        return float("nan"), float("nan")
    suggested = examples["suggested_confidence"].to_numpy(dtype="float64")
    given = examples["label_quality"].to_numpy(dtype="float64")
    most = np.interp(suggested, curve.stated, curve.observed)
    share = share_replaced(given, classes)
    replaced = share / (classes - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        least = np.nan_to_num(suggested * replaced / ((1 - share) * given + replaced * (1 - given)))
    low, high = float(np.clip(least, 0, 1)[chosen].mean()), float(most[chosen].mean())
    return min(low, high), high


def share_replaced(given: np.ndarray, classes: int) -> float:
    """Return the most probable share of labels that were replaced by another class at random.

    Args:
        given: Stated probability of each given label, ``[n]``.
        classes: Number of classes.
    """
    share = 0.05
    for _ in range(_STEPS):
        replaced = share * (1 - given) / (classes - 1)
        share = float(np.mean(replaced / np.maximum((1 - share) * given + replaced, 1e-300)))
    return share
