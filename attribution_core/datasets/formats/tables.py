"""Texts and rows of tables, from CSV, TSV, JSON Lines or Parquet files.

One file, or a folder with one for each split (``train.csv``, ``test.csv``). A column holds what is to be told: the one
asked for, else label, target, class or y; it is a class, or the value of a regression. With a column called text (or
sentence, review, ...) a row is a text and its other columns are groups; without one, every other column is a feature
of the row, and those of words are groups too.
``split``, ``id`` and ``original_label`` mean what they mean for images.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from attribution_core.datasets.formats.image_table import is_bytes
from attribution_core.datasets.formats.manifest import PATHS
from attribution_core.datasets.formats.row_files import JSON_LINES, find_column, read_column_names, read_json_lines
from attribution_core.datasets.listing import (
    SPLIT_FILE,
    SPLIT_NAMES,
    UNNAMED,
    Examples,
    Kind,
    Listing,
    normalize_name,
    numbered_ids,
)
from attribution_core.datasets.targets import Task, original_values, parse_labels, refuse_empty
from attribution_core.errors import InputError

TARGETS = ("label", "target", "class", "y")
TEXTS = ("text", "sentence", "review", "content", "document")
_PARQUET = ".parquet"
_RESERVED = ("split", "id", "original_label")
_MOST_GROUPS = 50  # values of a column of words that still make a way to group


@dataclass(frozen=True, slots=True)
class Text:
    """A text as an example."""

    text: str

    def encoded(self) -> bytes:
        """UTF-8."""
        return self.text.encode()

    def decoded(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row of a table as an example: its features by their columns' names; None where a cell is empty."""

    values: dict[str, Any]

    def encoded(self) -> bytes:
        """JSON."""
        return json.dumps(self.values, ensure_ascii=False, sort_keys=True).encode()

    def decoded(self) -> dict[str, Any]:
        """The features."""
        return self.values


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of all files, in their order.

    Attributes:
        frame: Every column as it was read.
        label: The column to be told.
        splits: Of each row, ``[n]``; "row" where none is named.
        ids: Of each row.
    """

    frame: pd.DataFrame
    label: str
    splits: np.ndarray
    ids: list[str]


def recognizes(path: Path) -> bool:
    """Whether this is a file of rows, or a folder of them, and none of its columns holds images or their places."""
    files = _files(path)
    return bool(files) and find_column(_columns(files[0]), PATHS) is None


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """Lists the rows.

    Args:
        path: A file, or a folder of files.
        target: The column to be told; by default the one that is called so.
        task: Whether that holds classes or values; by default what it looks like.

    Returns:
        The rows by split, of kind "text" or "table".

    Raises:
        InputError: A file that can't be read, a column that is missing, or a cell that can't be understood.
    """
    table = read_table(path, target)
    frame, splits, label = table.frame, table.splits, table.label
    text = next((name for name in TEXTS if name in frame and name != label), None)
    others = [name for name in frame.columns if name not in (label, text, *_RESERVED)]
    refuse_empty(frame[label].isna(), "value", label)
    labels, class_names, notes = parse_labels(frame[label], label, task)
    if not class_names and "original_label" in frame:
        frame["original_label"] = original_values(frame["original_label"])
    if text is not None:
        sources: list[Any] = [Text(value) for value in _texts(frame[text], text)]
        groups = frame[[name for name in ("original_label", *others) if name in frame]]
    else:
        if not others:
            raise InputError(f"Columns beside {label} were expected in {path}, to tell it from, and there are none.")
        features = _features(frame[others])
        plain = features.astype("object").where(features.notna(), None)
        sources = [Row(dict(zip(others, row, strict=True))) for row in plain.itertuples(index=False, name=None)]
        words = [name for name in others if not is_numeric_dtype(features[name])]
        words = [name for name in words if features[name].nunique() <= _MOST_GROUPS]
        groups = frame[[name for name in ("original_label", *words) if name in frame]]
    whole = Examples(table.ids, sources, labels, groups.reset_index(drop=True))
    kind: Kind = "table" if text is None else "text"
    return Listing(whole.by_split(splits), class_names, notes=notes, kind=kind, target=label)


def read_table(path: Path, target: str | None = None) -> Table:
    """All rows as they are; the arguments are those of :func:`read`."""
    frame, splits = _read_files(path)
    return Table(frame, _target(frame, target), splits, _ids(frame, splits))


def rows_suffix(path: Path) -> str:
    """Of the file, or of the files in the folder; in lower case."""
    return _files(path)[0].suffix.lower()


# -- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in _READERS else []
    if not path.is_dir():
        return []
    found = [file for file in path.iterdir() if file.suffix.lower() in _READERS and not file.name.startswith(".")]
    return sorted(file for file in found if SPLIT_FILE.match(file.stem.lower()))


def _columns(file: Path) -> list[str]:
    """Of a file's head; none where it can't be read, which its reader then tells."""
    if file.suffix.lower() != _PARQUET:
        return read_column_names(file)
    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):
        return []
    # Bytes are images to us, whatever the column is called.
    return [PATHS[0] if pa.types.is_nested(each.type) or is_bytes(each.type) else each.name for each in schema]


def _read_files(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """All rows, and the split of each ``[n]``."""
    frames, splits = [], []
    for file in _files(path):
        frame = _read_file(file)
        frames.append(frame)
        splits.append(_splits_of_rows(file, frame, by_name=path.is_dir()))
    if any(list(frame.columns) != list(frames[0].columns) for frame in frames):
        raise InputError(f"The files in {path} were expected to have the same columns, and they have not.")
    whole = pd.concat(frames, ignore_index=True)
    if whole.empty:
        raise InputError(f"Rows were expected in {path}, and there are none.")
    return whole, np.concatenate(splits)


def _read_file(file: Path) -> pd.DataFrame:
    try:
        frame = _READERS[file.suffix.lower()](file)
    except InputError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:  # pandas' errors of parsing are ValueErrors
        raise InputError(f"Rows were expected in {file}, and it cannot be read: {_one_line(error)}.") from error
    frame.columns = [normalize_name(str(name)).strip() for name in frame.columns]
    if frame.columns.duplicated().any():
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"Every column of {file} was expected to have its own name, and two are called {twice!r}.")
    return frame


def _read_csv(file: Path, separator: str = ",") -> pd.DataFrame:
    return pd.read_csv(file, sep=separator, encoding="utf-8-sig", low_memory=False)


def _read_tsv(file: Path) -> pd.DataFrame:
    return _read_csv(file, "\t")


def _read_json_lines(file: Path) -> pd.DataFrame:
    _, rows, lines = read_json_lines(file)
    for row, line in zip(rows, lines, strict=True):
        if any(isinstance(value, dict | list) for value in row.values()):
            raise InputError(f"An object of plain values was expected in line {line} of {file}.")
    return pd.DataFrame.from_records(rows)


def _read_parquet(file: Path) -> pd.DataFrame:
    return pq.ParquetFile(file).read().to_pandas(ignore_metadata=True)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    JSON_LINES: _read_json_lines,
    _PARQUET: _read_parquet,
}


def _splits_of_rows(file: Path, frame: pd.DataFrame, by_name: bool) -> np.ndarray:
    """From the column ``split``, else, in a folder, from the file's name."""
    if "split" in frame:
        names = frame["split"].astype("str").str.lower()
        unknown = names[~names.isin(list(SPLIT_NAMES))]
        if len(unknown):
            raise InputError(
                f"The split column of {file} was expected to hold {', '.join(SPLIT_NAMES)}, and row {unknown.index[0]} "
                f"holds {unknown.iloc[0]!r}: rename that split or remove its rows."
            )
        return names.map(SPLIT_NAMES).to_numpy(dtype=object)
    match = SPLIT_FILE.match(file.stem.lower()) if by_name else None
    return np.full(len(frame), SPLIT_NAMES[match.group(1)] if match else UNNAMED, dtype=object)


# -- columns ---------------------------------------------------------------------------------------------------------


def _target(frame: pd.DataFrame, asked: str | None) -> str:
    known = ", ".join(map(str, frame.columns[:20])) + (", ..." if len(frame.columns) > 20 else "")
    if asked is not None:
        if asked not in frame:
            raise InputError(f"A column called {asked} was expected, and the columns are {known}: choose one of them.")
        return asked
    found = next((name for name in TARGETS if name in frame), None)
    if found is None:
        raise InputError(
            f"A column called {', '.join(TARGETS[:-1])} or {TARGETS[-1]} was expected, and the columns are {known}: "
            "say which one is to be told, with --target."
        )
    return found


def _texts(column: pd.Series, name: str) -> list[str]:
    texts = column.fillna("").astype("str").str.strip()
    refuse_empty(texts == "", "text", name)
    return texts.tolist()


def _features(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with float64 or words in each column; a cell may be empty.

    Raises:
        InputError: If a number is infinite, or a column has nothing in it.
    """
    columns = {}
    for name, column in frame.items():
        if column.isna().all():
            raise InputError(f"The column {name} was expected to have values, and it has none: remove it.")
        if is_numeric_dtype(column) and not is_bool_dtype(column):
            numbers = column.astype("float64")
            infinite = np.flatnonzero(np.isinf(numbers))
            if len(infinite):
                raise InputError(
                    f"Finite numbers were expected in the column {name}, and row {infinite[0]} is not: correct it."
                )
            columns[name] = numbers
        else:
            words = column.astype("object").map(lambda value: normalize_name(str(value)), na_action="ignore")
            columns[name] = words.where(column.notna(), None)
    return pd.DataFrame(columns)


def _ids(frame: pd.DataFrame, splits: np.ndarray) -> list[str]:
    if "id" in frame and frame["id"].notna().all():
        return [normalize_name(str(value)) for value in frame["id"]]
    return numbered_ids(splits)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
