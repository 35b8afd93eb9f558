"""Targets of examples: the classes of a classification or the values of a regression."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype, is_numeric_dtype

from attribution_core.datasets.listing import normalize_name
from attribution_core.errors import InputError

Task = Literal["auto", "classification", "regression"]

# Cells that stand for an empty one in a column of numbers, in lower case. Anywhere else they are words like any other.
MISSING_MARKS = frozenset(("na", "n/a", "#n/a", "<na>", "nan", "-nan", "nat", "null", "none", "-", "--", "?", "."))

_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
INFINITE = frozenset(("inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"))
_NO_NUMBER = MISSING_MARKS | INFINITE
_CODE = re.compile(r"\s*[+-]?0[0-9]")  # 007 is the name of a class, not a number
_RANGES = 5  # ranges of values in plots and tables
# Whole numbers are classes if at most 20 differ, or if each has at least 10 rows on average.
_MOST_CLASSES, _MIN_ROWS_PER_CLASS = 20, 10


@dataclass(frozen=True)
class ValueScale:
    """How the values of a regression are scaled for a model, and the ranges that plots and tables show.

    A model learns ``(value - mean) / scale``, so that losses, rates and effects mean the same in any unit: always
    predicting the mean has half a squared error of 1/2 on average. Mean and scale come from the training split as it
    was opened; later decisions about its examples do not change them.

    Attributes:
        name: Name of the target column.
        mean: Mean of the training values.
        scale: Standard deviation of the training values.
        edges: Boundaries between the ranges, ascending: fifths of the training values, or fewer if many are equal.
    """

    name: str
    mean: float
    scale: float
    edges: tuple[float, ...]

    @classmethod
    def of(cls, name: str, train: np.ndarray) -> ValueScale:
        """Compute the scale from the training values, float64 ``[n]``.

        Raises:
            InputError: The values are all equal, or too large to square.
        """
        largest = float(np.abs(train).max())
        with np.errstate(over="ignore"):
            scale = float(train.std())
        if not math.isfinite(scale):
            raise InputError(
                f"The column {name} must hold values below 1e150, but it holds {largest:g}: correct that value."
            )
        if not scale > 1e-12 * largest:  # rounding error of a constant
            raise InputError(
                f"The column {name} must hold different values, but all {len(train)} training examples have "
                f"{train[0]:g}: choose another column."
            )
        fifths = np.quantile(train, np.linspace(0, 1, _RANGES + 1)[1:-1])
        edges = np.unique(fifths[(fifths > train.min())])
        return cls(name, float(train.mean()), scale, tuple(edges.tolist()))

    def standardize(self, values: np.ndarray) -> np.ndarray:
        """Return values as a model learns them, in standard deviations of the training values: float64 ``[n]``."""
        return (values - self.mean) / self.scale

    def in_unit(self, outputs: np.ndarray) -> np.ndarray:
        """Convert a model's outputs to the unit of the data."""
        return outputs * self.scale + self.mean

    def ranges(self, values: np.ndarray) -> np.ndarray:
        """Return the range of each value as a position in :attr:`range_names`: int64 ``[n]``."""
        return np.searchsorted(np.array(self.edges), values, side="right").astype(np.int64)

    @property
    def range_names(self) -> list[str]:
        """Names of the ranges, ascending both by value and alphabetically."""
        bounds = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(bounds)]
        spans = [f"below {bounds[0]}", *between, f"{bounds[-1]} and up"] if bounds else ["all"]
        return [f"{number}: {span}" for number, span in enumerate(spans, start=1)]


def parse_labels(column: pd.Series, name: str, task: Task = "auto") -> tuple[np.ndarray, list[str], list[str]]:
    """Turn a column into classes or values.

    Args:
        column: Labels without empty cells; the index names the rows in messages.
        name: Name of the column.
        task: ``"auto"`` takes texts and few different whole numbers as classes, and other numbers as values.

    Returns:
        Positions in the class names, int64 ``[n]``, or values, float64 ``[n]``; the class names, empty for values; and
        sentences that a user should read.

    Raises:
        InputError: The column does not hold what the task needs, or a number is not finite.
    """
    numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
    if task == "regression" and not numeric:
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.isna().any():
            words = column[numbers.isna()]
            raise InputError(
                f"The column {name} must hold numbers for a regression, but row {words.index[0]} holds "
                f"{str(words.iloc[0])[:40]!r}: choose another column, or use --task classification."
            )
        column, numeric = numbers, True
    if numeric and not (finite := np.isfinite(column.to_numpy(dtype=np.float64))).all():
        row = column.index[int(np.argmin(finite))]
        raise InputError(
            f"The column {name} must hold finite numbers, but that of row {row} is not finite: correct it."
        )
    whole = numeric and (not is_float_dtype(column) or bool((column == column.round()).all()))
    if task == "regression" or (task == "auto" and numeric and not (whole and _are_classes(column))):
        return column.to_numpy(dtype=np.float64), [], _notes(column, name) if whole and task == "auto" else []
    if numeric and not whole:
        raise InputError(
            f"The column {name} must hold classes, but it holds numbers such as {column.iloc[0]:g}: choose another "
            "column, group the numbers into a few classes, or use --task regression."
        )
    found = column.astype("int64") if whole else column.astype("str").map(normalize_name)
    distinct, labels = np.unique(found.to_numpy(), return_inverse=True)
    return labels.astype(np.int64), [str(value) for value in distinct], []


def parse_cells(cells: pd.Series, name: str, task: Task = "auto") -> tuple[np.ndarray, list[str], list[str]]:
    """Turn the texts of a column into classes or values.

    A class is called as its cell is written: ``007``, ``NA``, ``1e5`` and ``True`` stay so. Only spaces around a class
    do not count. Classes that are numbers are in the order of their size, others in that of the alphabet.

    Args:
        cells: Texts, none of them empty; the index names the rows in messages.
        name: Name of the column.
        task: ``"auto"`` takes texts, codes such as 007, and few different whole numbers as classes, and other numbers
            as values.

    Returns:
        As in :func:`parse_labels`.

    Raises:
        InputError: As in :func:`parse_labels`.
    """
    texts = cells.str.strip()
    is_number = are_numbers(texts)
    if task != "classification" and _are_values(texts, is_number, task):
        wrong = texts[~is_number]
        if len(wrong) and task == "regression" and not wrong.str.lower().isin(_NO_NUMBER).all():
            words = wrong[~wrong.str.lower().isin(_NO_NUMBER)]
            raise InputError(
                f"The column {name} must hold numbers for a regression, but row {words.index[0]} holds "
                f"{words.iloc[0][:40]!r}: choose another column, or use --task classification."
            )
        numbers = as_floats(texts.where(is_number, "nan"))
        if not np.isfinite(numbers).all():
            row = numbers.index[int(np.argmin(np.isfinite(numbers.to_numpy())))]
            raise InputError(
                f"The column {name} must hold finite numbers, but that of row {row} is not finite (it is "
                f"{texts[row][:40]}): correct it."
            )
        whole = task == "auto" and bool((numbers == numbers.round()).all())
        return numbers.to_numpy(), [], _notes(texts, name) if whole else []
    if is_number.all() and not texts.str.match(_CODE).any() and not _are_integers(texts):
        raise InputError(
            f"The column {name} must hold classes, but it holds numbers such as {float(texts.iloc[0]):g}: choose "
            "another column, group the numbers into a few classes, or use --task regression."
        )
    return _classes(cells, texts, name)


def missing_values(cells: pd.Series, task: Task = "auto") -> np.ndarray:
    """Return which cells of a column of values stand for a missing one, such as NA, bool ``[n]``; of classes none."""
    texts = cells.str.strip()
    is_number = are_numbers(texts)
    if task == "classification" or not is_number.any() or not _are_values(texts, is_number, task):
        return np.zeros(len(cells), dtype=bool)
    found: np.ndarray = (~is_number & texts.str.lower().isin(MISSING_MARKS)).to_numpy(dtype=bool)
    return found


def are_numbers(texts: pd.Series) -> pd.Series:
    """Return which texts are numbers, such as 5, -0.5 or 1e5; inf and nan are none."""
    return are_all(texts, _NUMBER)


def are_all(texts: pd.Series, pattern: re.Pattern[str]) -> pd.Series:
    """Return which texts a pattern fits from end to end, bool ``[n]``; each different text is looked at once."""
    codes, distinct = pd.factorize(texts.to_numpy(dtype=object))
    fits = np.array([pattern.fullmatch(text) is not None for text in distinct], dtype=bool)
    return pd.Series(fits[codes], index=texts.index)


def as_floats(texts: pd.Series) -> pd.Series:
    """Return texts that are numbers as float64.

    Raises:
        ValueError: A text is no number.
    """
    try:  # Arrow rounds as Python does, but knows fewer forms
        numbers = pa.array(texts.to_numpy(), pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowException, TypeError):
        numbers = np.array([float(text) for text in texts], dtype=np.float64)
    return pd.Series(numbers, index=texts.index)


def _are_values(texts: pd.Series, is_number: pd.Series, task: Task) -> bool:
    """Return whether a column holds values rather than classes."""
    if task == "regression":
        return True
    numbers = texts[is_number]
    others = texts[~is_number].str.lower()
    if not len(numbers) or not others.isin(_NO_NUMBER).all() or numbers.str.match(_CODE).any():
        return False
    if len(others) and others.isin(INFINITE).all():
        return True  # refused there: among numbers, infinity is a number and not the name of a class
    return not (_are_integers(numbers) and _are_classes(numbers))


def _are_integers(texts: pd.Series) -> bool:
    """Return whether all numbers are whole; also 1.0 and 1e5."""
    return all(text.lstrip("+-").isdecimal() or float(text).is_integer() for text in texts.unique())


def _classes(cells: pd.Series, texts: pd.Series, name: str) -> tuple[np.ndarray, list[str], list[str]]:
    names = texts.map(normalize_name)
    found = [str(each) for each in names.unique()]
    if are_numbers(pd.Series(found, dtype="object")).all() and not any(map(_CODE.match, found)):
        found.sort(key=lambda text: (Decimal(text), text))
        twice = next((pair for pair in pairwise(found) if Decimal(pair[0]) == Decimal(pair[1])), None)
    else:
        found.sort()
        twice = None
    notes = [f"{twice[0]} and {twice[1]} are two classes of the column {name}, though one number."] if twice else []
    spaces = int((cells != texts).sum())
    if spaces and cells.nunique() > texts.nunique():
        such = "1 cell" if spaces == 1 else f"{spaces:,} cells"
        notes.append(f"Spaces around the classes of the column {name} do not count; {such} had some.")
    position = {each: i for i, each in enumerate(found)}
    return names.map(position).to_numpy(dtype=np.int64), found, notes


def image_task(labels: pd.Series, task: Task) -> Task:
    """Return the task for labels of images: under ``"auto"``, whole numbers are classes, however many there are."""
    return "classification" if task == "auto" and is_integer_dtype(labels) else task


def parse_numeric_labels(
    numbers: pd.Series, name: str, class_names: list[str] | None, task: Task = "auto"
) -> tuple[np.ndarray, list[str], list[str]]:
    """Turn the numeric labels of images into classes or values, as :func:`parse_labels` does for any column.

    Args:
        numbers: Labels; the index names the rows in messages.
        name: Name of the labels.
        class_names: Names that whole numbers are positions in: of classes, or in a regression the values as texts.
            None if there are none; each class is then named by its number.
        task: As in :func:`parse_labels`.

    Raises:
        InputError: As in :func:`parse_labels`; or a class number is negative or beyond the class names.
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
    """Return the values of a column ``original_label``, float64.

    Raises:
        InputError: A value is missing or is not a number.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    refuse_empty(numbers.isna(), "number", str(column.name))
    return numbers


def refuse_empty(is_empty: pd.Series, what: str, name: str) -> None:
    """Refuse a column with empty cells.

    Args:
        is_empty: Which rows are empty, bool ``[n]``; the index names them.
        what: What the cells should hold, for the message.
        name: Name of the column.

    Raises:
        InputError: A row is empty.
    """
    empty = is_empty.index[is_empty]
    if len(empty):
        raise InputError(
            f"Every row needs a {what} in the column {name}, but row {empty[0]} has none: fill in or remove "
            f"{_such_rows(len(empty))}."
        )


def _refuse_beyond(numbers: pd.Series, expected: str, end: float) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= end)]
    if len(wrong):
        raise InputError(
            f"Labels must be {expected}, but row {wrong.index[0]} has {wrong.iloc[0]}: correct or remove "
            f"{_such_rows(len(wrong))}."
        )


def _such_rows(count: int) -> str:
    return "that row" if count == 1 else f"the {count} such rows"


def _are_classes(numbers: pd.Series) -> bool:
    distinct = numbers.nunique()
    return distinct <= _MOST_CLASSES or len(numbers) >= _MIN_ROWS_PER_CLASS * distinct


def _notes(numbers: pd.Series, name: str) -> list[str]:
    return [
        f"The column {name} holds {numbers.nunique():,} different whole numbers, which are taken as values; "
        "to take them as classes, score with --task classification."
    ]
