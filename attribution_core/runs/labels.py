"""How labels are written: the names of classes, or the numbers of a regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

# The group column of a regression: the range that an example's value lies in.
VALUE_RANGE = "value_range"
_ROUNDING = 1e-6  # of the range of the values


def label_names(labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """For people, ``[n]`` of texts.

    Args:
        labels: Positions in the class names, or values.
        class_names: Empty where labels are values, which then have six digits.
    """
    if class_names:
        return np.array(class_names, dtype=object)[labels]
    return np.array([f"{value:.6g}" for value in labels.tolist()], dtype=object)


def label_texts(labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """For files, ``[n]`` of texts: as :func:`label_names`, but values with all their digits, to be read again."""
    if class_names:
        return np.array(class_names, dtype=object)[labels]
    return np.array([repr(value) for value in labels.tolist()], dtype=object)


def labels_of_texts(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """The labels that :func:`label_texts` wrote: int64 or, of values, float64, ``[n]``."""
    if class_names:
        position = {name: i for i, name in enumerate(class_names)}
        return np.array([position[text] for text in texts], dtype=np.int64)
    return np.array([float(text) for text in texts], dtype=np.float64)


def changed_labels(examples: pd.DataFrame) -> np.ndarray | None:
    """Which examples have another label than ``original_label``, a name or a number, bool ``[n]``.

    Args:
        examples: Columns label, label_name and, where something is known, original_label.

    Returns:
        None where nothing is known. Values differ by more than rounding: a millionth of their range.
    """
    if "original_label" not in examples:
        return None
    if is_float_dtype(examples["label"]):
        values, original = (examples[name].to_numpy(dtype="float64") for name in ("label", "original_label"))
        return np.abs(values - original) > _ROUNDING * np.ptp(values)
    known, *own = (examples[name].astype("str") for name in ("original_label", "label_name", "label"))
    same = (known == own[0]) | (known == own[1])
    return (~same).to_numpy(dtype="bool")
