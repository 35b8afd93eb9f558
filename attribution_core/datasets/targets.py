"""What is to be told of examples: classes, or the values of a regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype, is_numeric_dtype

from attribution_core.datasets.listing import normalize_name
from attribution_core.errors import InputError

Task = Literal["auto", "classification", "regression"]

_RANGES = 5  # of values, to speak of
# Whole numbers are classes up to so many different ones, or where each has so many rows on average.
_FEW_CLASSES, _MANY_ROWS = 20, 10


@dataclass(frozen=True)
class ValueScale:
    """The values of a regression: how a model is given them, and the ranges that people speak of.

    A model learns ``(value - mean) / scale``, so that losses, rates and effects mean the same whatever the unit: half
    the squared error of always telling the mean is 1/2 on average. Mean and scale are the training split's as the
    dataset came, whatever is decided about its examples later.

    Attributes:
        name: Of the column.
        mean: Of the training values.
        scale: Their standard deviation.
        edges: Between the ranges, ascending: fifths of the training values, or fewer where many are equal.
    """

    name: str
    mean: float
    scale: float
    edges: tuple[float, ...]

    @classmethod
    def of(cls, name: str, train: np.ndarray) -> ValueScale:
        """From the training values, float64 ``[n]``.

        Raises:
            InputError: They are all the same, or too large to take squares of.
        """
        largest = float(np.abs(train).max())
        with np.errstate(over="ignore"):
            scale = float(train.std())
        if not math.isfinite(scale):
            raise InputError(
                f"Values below 1e150 were expected in the column {name}, and it has {largest:g}: correct it."
            )
        if not scale > 1e-12 * largest:  # what rounding leaves of a constant
            raise InputError(
                f"Different values were expected in the column {name}, and all {len(train)} training examples have "
                f"{train[0]:g}: choose another column."
            )
        fifths = np.quantile(train, np.linspace(0, 1, _RANGES + 1)[1:-1])
        edges = np.unique(fifths[(fifths > train.min())])
        return cls(name, float(train.mean()), scale, tuple(edges.tolist()))

    def standardize(self, values: np.ndarray) -> np.ndarray:
        """What a model learns, in the training values' standard deviations: float64 ``[n]``."""
        return (values - self.mean) / self.scale

    def in_unit(self, outputs: np.ndarray) -> np.ndarray:
        """A model's outputs in the unit of the data."""
        return outputs * self.scale + self.mean

    def ranges(self, values: np.ndarray) -> np.ndarray:
        """The range of each value, its position in :attr:`range_names`: int64 ``[n]``."""
        return np.searchsorted(np.array(self.edges), values, side="right").astype(np.int64)

    @property
    def range_names(self) -> list[str]:
        """From the lowest up, and so in the order of the alphabet too."""
        bounds = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(bounds)]
        spans = [f"below {bounds[0]}", *between, f"{bounds[-1]} and up"] if bounds else ["all"]
        return [f"{number}: {span}" for number, span in enumerate(spans, start=1)]


def parse_labels(column: pd.Series, name: str, task: Task = "auto") -> tuple[np.ndarray, list[str], list[str]]:
    """What a column says of each row.

    Args:
        column: Without an empty cell; its index names the rows in messages.
        name: What it is called.
        task: ``"auto"`` takes texts, and whole numbers where they are few, as classes, and other numbers as values.

    Returns:
        Positions in the class names, int64 ``[n]``, with these; or values, float64 ``[n]``, and no class names. Then
        sentences that a person should see.

    Raises:
        InputError: Values were asked for and are not there, or are not finite.
    """
    numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
    if task == "regression" and not numeric:
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.isna().any():
            words = column[numbers.isna()]
            raise InputError(
                f"Numbers were expected in the column {name}, and row {words.index[0]} holds "
                f"{str(words.iloc[0])[:40]!r}: choose another column, or --task classification."
            )
        column, numeric = numbers, True
    if numeric and not (finite := np.isfinite(column.to_numpy(dtype=np.float64))).all():
        row = column.index[int(np.argmin(finite))]
        raise InputError(f"Finite numbers were expected in the column {name}, and row {row} is not: correct it.")
    whole = numeric and (not is_float_dtype(column) or bool((column == column.round()).all()))
    if task == "regression" or (task == "auto" and numeric and not (whole and _are_classes(column))):
        return column.to_numpy(dtype=np.float64), [], _notes(column, name) if whole and task == "auto" else []
    if numeric and not whole:
        raise InputError(
            f"Classes were expected in the column {name}, and it holds numbers such as {column.iloc[0]:g}: choose "
            "another column, put the numbers into a few classes, or use --task regression."
        )
    found = column.astype("int64") if whole else column.astype("str").map(normalize_name)
    distinct, labels = np.unique(found.to_numpy(), return_inverse=True)
    return labels.astype(np.int64), [str(value) for value in distinct], []


def image_task(labels: pd.Series, task: Task) -> Task:
    """Whole numbers beside images number their classes, however many there are, unless asked otherwise."""
    return "classification" if task == "auto" and is_integer_dtype(labels) else task


def parse_numeric_labels(
    numbers: pd.Series, name: str, class_names: list[str] | None, task: Task = "auto"
) -> tuple[np.ndarray, list[str], list[str]]:
    """As :func:`parse_labels`, of numbers beside images, which may be positions in class names that are known.

    Args:
        numbers: Its index names the rows in messages.
        name: What they are called.
        class_names: What whole numbers stand for: the classes, or in a regression the values. None where that is not
            known; then numbers are called what they are.
        task: As in :func:`parse_labels`.

    Raises:
        InputError: As :func:`parse_labels`; or classes are numbered below zero or beyond their names.
    """
    task = image_task(numbers, task)
    if class_names is None or is_float_dtype(numbers):
        labels, found, notes = parse_labels(numbers, name, task)
        if found:
            _refuse_beyond(numbers, "0 or more", math.inf)
        if class_names is None or not found:
            return labels, found, notes
    _refuse_beyond(numbers, f"0 to {len(class_names) - 1}", len(class_names))
    positions = numbers.to_numpy(dtype=np.int64)
    if task != "regression":
        return positions, class_names, []
    return parse_labels(pd.Series(np.array(class_names, dtype=object)[positions], index=numbers.index), name, task)


def original_values(column: pd.Series) -> pd.Series:
    """The values that the data say were there before, float64.

    Raises:
        InputError: One is missing, or is no number.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    refuse_empty(numbers.isna(), "number", str(column.name))
    return numbers


def refuse_empty(is_empty: pd.Series, what: str, name: str) -> None:
    """Refuses a column that lacks something in some rows.

    Args:
        is_empty: Where it does, bool ``[n]``.
        what: What it lacks there.
        name: The column's.

    Raises:
        InputError: It does.
    """
    empty = np.flatnonzero(is_empty)
    if len(empty):
        raise InputError(
            f"Every row was expected to have a {what} in the column {name}, and row {empty[0]} has none: fill in or "
            f"remove {_such_rows(len(empty))}."
        )


def _refuse_beyond(numbers: pd.Series, expected: str, end: float) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= end)]
    if len(wrong):
        raise InputError(
            f"Labels of {expected} were expected, and row {wrong.index[0]} has {wrong.iloc[0]}: correct or remove "
            f"{_such_rows(len(wrong))}."
        )


def _such_rows(count: int) -> str:
    return "that row" if count == 1 else f"the {count} such rows"


def _are_classes(numbers: pd.Series) -> bool:
    distinct = numbers.nunique()
    return distinct <= _FEW_CLASSES or len(numbers) >= _MANY_ROWS * distinct


def _notes(numbers: pd.Series, name: str) -> list[str]:
    return [
        f"The column {name} holds {numbers.nunique():,} different whole numbers, which are taken as values to "
        "predict; for classes, score with --task classification."
    ]
