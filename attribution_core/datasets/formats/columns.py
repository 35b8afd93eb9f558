"""What each column of a table is: a text, a feature of numbers or of words, or nothing to learn from.

Cells are texts as the file has them. A column holds numbers if each cell that is not empty is a finite number; NA, nan
and the like count as empty there, and only there. Whatever is decided is said in a note.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from attribution_core.datasets.formats.row_files import JsonNumber, find_column
from attribution_core.datasets.listing import normalize_name
from attribution_core.datasets.scripts import count_words, is_prose
from attribution_core.datasets.targets import INFINITE, MISSING_MARKS, are_all, are_numbers, as_floats
from attribution_core.errors import InputError

TEXT_COLUMNS = ("text", "sentence", "review", "content", "document")
MOST_CATEGORIES = 50  # values that a column of words may have to be a feature whose rows repeat
_FEW = 10  # rows whose words may all differ in a feature
_MOST_SHOWN = 10  # columns in a note

# A column of another name is a text if most of its cells differ and have so many words on average.
_WORDS_OF_TEXT, _WORDS_OF_PROSE, _WORDS_ALONE = 8, 4, 2

_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+),[0-9]+([eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+|[+-]?[0-9]+([eE][+-]?[0-9]+)?")
_ROW_NUMBER = re.compile(r"unnamed: \d+|__index_level_\d+__|index|level_0|row(_?(number|num|id))?", re.IGNORECASE)
_ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|key)$|^(id|uuid|guid)[_\W])|[a-z](Id|ID)$")


@dataclass
class Columns:
    """The columns beside the target.

    Attributes:
        text: The column of texts; None for a table of features.
        features: Features by name: float64, or object with texts and None.
        aside: Columns that are not learned from, with the reason.
        notes: Sentences that a user should read.
    """

    text: str | None
    features: dict[str, pd.Series]
    aside: dict[str, str]
    notes: list[str] = field(default_factory=list)


def cells_of(column: pd.Series) -> pd.Series:
    """Return each cell as the text that it is written as, and None for an empty one: object ``[n]``.

    A cell of spaces is empty; so are None and NaN in a column of numbers, which has no text. True and False of JSON and
    Parquet are written as CSV has them.
    """
    return pd.Series([_text(value) for value in column.astype("object")], index=column.index, dtype="object")


def _text(value: object) -> str | None:
    if isinstance(value, JsonNumber):
        return None if value == "NaN" else str(value)
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    return str(value)


def sort_columns(
    frame: pd.DataFrame, candidates: list[str], label: str, splits: np.ndarray, decimal_comma: bool
) -> Columns:
    """Decide what each column is.

    Args:
        frame: The columns as they were read.
        candidates: Columns that may be learned from.
        label: Name of the target column, for messages.
        splits: Split of each row, ``[n]``: a running number may begin again in each.
        decimal_comma: Whether the file writes 0,5 for 0.5.

    Raises:
        InputError: There is nothing to learn from, a column is empty, or a number is infinite.
    """
    if not candidates:
        raise InputError(
            f"A table needs columns beside {label} to predict it from, but this one has none: add features."
        )
    found = Columns(None, {}, {})
    for name in candidates:
        values, is_whole = _values(frame[name], decimal_comma, found.notes)
        if values.isna().all() and name.startswith("Unnamed: "):
            found.aside[name] = "neither a name nor cells"
            continue
        why = _why_no_feature(name, values, is_whole, splits)
        found.features[name] = values
        if why is not None:
            found.aside[name] = why
    found.text = _text_column(found)
    if found.text is not None:
        found.aside.pop(found.text, None)
        found.notes = _notes_aside(found)  # those about numbers concern nobody
        return found
    for name in found.aside:
        found.features.pop(name, None)
    empty = next((name for name, values in found.features.items() if values.isna().all()), None)
    if empty is not None:
        raise InputError(f"The column {empty} needs values, but it has none: remove it.")
    for name, values in found.features.items():
        if values.dtype == np.float64:
            _refuse_infinite(values, name)
    varying = [name for name, values in found.features.items() if values.nunique(dropna=False) > 1]
    if not varying and len(frame) > 1:
        reasons = {**dict.fromkeys(found.features, "the same value in each row"), **found.aside}
        listed = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_MOST_SHOWN])
        raise InputError(
            f"A table needs columns from which {label} can be learned, but this one has none ({listed}): add features, "
            "or call a column of texts text."
        )
    found.notes += _notes_aside(found)
    return found


def _values(column: pd.Series, decimal_comma: bool, notes: list[str]) -> tuple[pd.Series, bool]:
    """Return a column as float64 if it holds numbers, otherwise as texts and None.

    Args:
        column: The column as it was read.
        decimal_comma: Whether the file writes 0,5 for 0.5.
        notes: Sentences that a user should read; those about this column are added.

    Returns:
        The values, and whether all are written as whole numbers, 0 or more.
    """
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        numbers = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)
        return numbers, is_integer_dtype(column) and bool((numbers >= 0).all())
    quick = _quick_numbers(column)
    if quick is not None:
        return quick
    cells = cells_of(column)
    there = cells.dropna().str.strip()
    found = _numbers(there, str(column.name), decimal_comma, notes) if len(there) else None
    if found is not None:
        return found.reindex(cells.index), "".join(there).isdecimal()
    return cells.map(normalize_name, na_action="ignore").astype("object").where(cells.notna(), None), False


def _numbers(there: pd.Series, name: str, decimal_comma: bool, notes: list[str]) -> pd.Series | None:
    """Return the numbers that these texts are, NaN for NA and the like; None if they are words."""
    is_number = are_numbers(there)
    if is_number.all():
        return as_floats(there)
    others = there[~is_number]
    marks = others.str.lower().isin(MISSING_MARKS)
    infinite = others.str.lower().isin(INFINITE)
    if (marks | infinite).all() and (is_number.any() or infinite.any()):
        if marks.any():
            count = f"{marks.sum():,} cells" if marks.sum() > 1 else "1 cell"
            notes.append(
                f"The column {name} holds numbers and {listed(sorted(set(others[marks])))} in {count}, which count as "
                "empty."
            )
        return there.where(is_number | ~there.index.isin(others[marks].index), None).map(
            lambda text: np.nan if text is None else float(text)
        )
    with_point = with_points(there, decimal_comma)
    if with_point is None:
        return None
    row = others.index[0]
    notes.append(f"The column {name} was read as numbers: {others[row]} is {float(with_point[row]):,.12g}.")
    return as_floats(with_point)


def _quick_numbers(column: pd.Series) -> tuple[pd.Series, bool] | None:
    """Return what :func:`_values` does if all cells are empty or finite numbers of the usual form; most columns are."""
    is_text = isinstance(column.dtype, pd.ArrowDtype)  # of delimited text; columns of Parquet are objects
    if not is_text and not set(map(type, column)) <= {str, JsonNumber, type(None)}:
        return None
    try:
        cells = pc.utf8_trim_whitespace(pa.array(column.array if is_text else column.to_numpy(), pa.string()))
        cells = pc.if_else(pc.equal(cells, ""), None, cells)
        numbers = cells.cast(pa.float64())
    except ValueError:  # Arrow's error is one; half of a surrogate pair is another
        return None
    if not len(numbers.drop_null()) or not pc.all(pc.is_finite(numbers)).as_py():
        return None
    is_whole = bool(pc.all(pc.utf8_is_decimal(cells)).as_py())
    return pd.Series(numbers.to_numpy(zero_copy_only=False), index=column.index), is_whole


def with_points(there: pd.Series, decimal_comma: bool) -> pd.Series | None:
    """Return numbers such as 1,234.5 or 0,5 in the usual form; None if some are neither.

    Args:
        there: Texts, none of them empty.
        decimal_comma: Whether the file writes 0,5 for 0.5.
    """
    fits = {kind: are_all(there, kind).to_numpy() for kind in (_THOUSANDS, _DECIMAL_COMMA, _GROUPED)}
    plain = are_numbers(there).to_numpy()
    if not decimal_comma and (fits[_THOUSANDS] | plain).all():
        return there.str.replace(",", "")
    if (fits[_DECIMAL_COMMA] | fits[_GROUPED]).all() and fits[_DECIMAL_COMMA].any():
        return there.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return None


def _refuse_infinite(numbers: pd.Series, name: str) -> None:
    infinite = np.flatnonzero(np.isinf(numbers.to_numpy()))
    if len(infinite):
        raise InputError(
            f"The column {name} must hold finite numbers, but that of row {numbers.index[infinite[0]]} is not finite: "
            "correct it."
        )


# -- columns that are no features ------------------------------------------------------------------------------------


def _why_no_feature(name: str, values: pd.Series, is_whole: bool, splits: np.ndarray) -> str | None:
    """Return what a column holds if it tells rows apart rather than what they are; None for a feature."""
    is_number = values.dtype == np.float64
    if is_number and not is_whole:
        return None
    there = values.dropna()
    distinct = there.nunique()
    unique = distinct == len(values) and len(values) > 1
    if is_number and _runs(values, splits):
        return "a running number"
    if is_number and _ROW_NUMBER.fullmatch(name) and (unique or name.startswith("Unnamed: ")):
        return "numbers of rows"
    if unique and _ID_NAME.search(name):
        return "ids"
    if is_number:
        return None
    if distinct > MOST_CATEGORIES and 2 * distinct > len(there):
        return f"values that hardly repeat: {distinct:,} of {len(there):,} differ"
    return "a value of its own in each row" if unique and len(values) > _FEW else None


def _runs(values: pd.Series, splits: np.ndarray) -> bool:
    """Return whether the numbers are 0 to n - 1 or 1 to n in some order, in all rows or in those of each split."""
    return _is_running(values.to_numpy()) or (
        len(set(splits)) > 1 and all(_is_running(values.to_numpy()[splits == split]) for split in set(splits))
    )


def _is_running(numbers: np.ndarray) -> bool:
    if len(numbers) < 3 or np.isnan(numbers).any():
        return False
    first = numbers.min()
    return first in (0, 1) and bool(np.array_equal(np.sort(numbers), first + np.arange(len(numbers))))


# -- texts -----------------------------------------------------------------------------------------------------------


def _text_column(columns: Columns) -> str | None:
    """Return the column of texts: the one called so, else the one with the most words, if it has enough of them."""
    words = {name: values for name, values in columns.features.items() if values.dtype != np.float64}
    named = find_column([name for name in words if not words[name].isna().all()], TEXT_COLUMNS)
    if named is not None:
        return named
    alone = all(name in columns.aside or values.nunique() < 2 for name, values in columns.features.items())
    found = {name: size for name, values in words.items() if (size := _words_of_text(values, alone))}
    return max(found, key=lambda name: found[name]) if found else None


def _words_of_text(values: pd.Series, alone: bool) -> float:
    """Return the mean number of words of a column of texts; 0 for another column of words.

    Args:
        values: Texts, or None.
        alone: Whether there is nothing else to learn from.
    """
    there = values.dropna()
    if not len(there) or 2 * there.nunique() < len(there):
        return 0.0
    sample = there.iloc[:: max(1, len(there) // 1000)]
    mean = float(np.mean([count_words(text) for text in sample]))
    enough = (
        mean >= _WORDS_OF_TEXT or (mean >= _WORDS_OF_PROSE and is_prose(sample)) or (alone and mean >= _WORDS_ALONE)
    )
    return mean if enough else 0.0


# -- sentences -------------------------------------------------------------------------------------------------------


def what_is_used(columns: Columns) -> str:
    """Return what is learned from, in a few words."""
    if columns.text is not None:
        return f"texts in the column {columns.text}"
    words = [name for name, values in columns.features.items() if values.dtype != np.float64]
    numbers = [name for name in columns.features if name not in words]
    kinds = [f"{kind} {listed(names)}" for kind, names in (("numbers", numbers), ("categories", words)) if names]
    return f"rows of a table with the {' and the '.join(kinds)}"


def _notes_aside(columns: Columns) -> list[str]:
    if columns.text is not None:
        others = [name for name in (*columns.features, *columns.aside) if name != columns.text]
        if not others:
            return []
        unused = listed(list(dict.fromkeys(others)))
        return [f"The features are the texts in {columns.text} alone; not used: {unused}."]
    reasons = [f"{name} ({why})" for name, why in columns.aside.items()]
    return [f"Not used as features: {listed(reasons)}."] if reasons else []


def listed(names: list[str], most: int = _MOST_SHOWN) -> str:
    """Return names as a list in a sentence, shortened if there are many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
