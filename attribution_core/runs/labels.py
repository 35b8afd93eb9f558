"""Labels as text: class names, or the values of a regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

# The group column of a regression: the range of values that an example belongs to.
VALUE_RANGE = "value_range"
_ROUNDING = 1e-6  # as a share of the range of the values


def split_name(split: str) -> str:
    """Return the name of a split as an adjective: training, validation or test."""
    return "training" if split == "train" else split


def label_names(labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Return labels as texts for people, ``[n]``; values have six digits.

    Args:
        labels: Positions in the class names, or values.
        class_names: Names of the classes; empty for a regression.
    """
    if class_names:
        return np.array(class_names, dtype=object)[labels]
    return np.array([f"{value:.6g}" for value in labels.tolist()], dtype=object)


def label_texts(labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Return labels as texts for files, ``[n]``; values have all digits, so that they can be read again."""
    if class_names:
        return np.array(class_names, dtype=object)[labels]
    return np.array([repr(value) for value in labels.tolist()], dtype=object)


def labels_of_texts(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Return the labels that :func:`label_texts` wrote, ``[n]``: int64, or float64 for values."""
    if class_names:
        position = {name: i for i, name in enumerate(class_names)}
        return np.array([position[text] for text in texts], dtype=np.int64)
    return np.array([float(text) for text in texts], dtype=np.float64)


def changed_labels(examples: pd.DataFrame) -> np.ndarray | None:
    """Return which examples have another label than ``original_label``, bool ``[n]``.

    Args:
        examples: Columns label, label_name and, if the original labels are known, original_label (a name or a number).

    Returns:
        None if the original labels are unknown. Values count as changed if they differ by more than a millionth of
        their range.
    """
    if "original_label" not in examples:
        return None
    if is_float_dtype(examples["label"]):
        values, original = (examples[name].to_numpy(dtype="float64") for name in ("label", "original_label"))
        return np.abs(values - original) > _ROUNDING * np.ptp(values)
    known, *own = (examples[name].astype("str") for name in ("original_label", "label_name", "label"))
    same = (known == own[0]) | (known == own[1])
    return (~same).to_numpy(dtype="bool")
