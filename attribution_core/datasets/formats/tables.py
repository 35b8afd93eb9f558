"""Texts and rows of tables, from CSV, TSV, JSON Lines or Parquet files.

A dataset is one file, or a folder with one file for each split (``train.csv``, ``test.csv``). The target column is the
one requested, else label, target, class or y; it holds classes, or the values of a regression. With a column called
text (or sentence, review, ...), a row is a text and its other columns are groups; without one, every other column is a
feature of the row, and columns of words are groups too. ``split``, ``id`` and ``original_label`` have the same meaning
as for images.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from attribution_core.datasets.formats import parquet
from attribution_core.datasets.formats.arrow_rows import ArrowRows
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

TARGET_COLUMNS = ("label", "target", "class", "y")
TEXT_COLUMNS = ("text", "sentence", "review", "content", "document")
_RESERVED = ("split", "id", "original_label")
_MOST_GROUPS = 50  # values that a column of words may have to be a group column


@dataclass(frozen=True, slots=True)
class Text:
    """A text as an example."""

    text: str

    def encoded(self) -> bytes:
        """Return the text as UTF-8."""
        return self.text.encode()

    def decoded(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row of a table as an example: its features by column name; None for an empty cell."""

    values: dict[str, Any]

    def encoded(self) -> bytes:
        """Return the features as JSON."""
        return json.dumps(self.values, ensure_ascii=False, sort_keys=True).encode()

    def decoded(self) -> dict[str, Any]:
        """Return the features."""
        return self.values


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of all files, in order.

    Attributes:
        frame: Every column as it was read.
        label: Name of the target column.
        splits: Split of each row, ``[n]``; "row" for rows without one.
        ids: Id of each row.
        class_names: Names of the classes in their order, if the file states one.
        notes: Sentences that a user should read.
        rows: Row of each in the source, ``[n]``, if some were left out.
    """

    frame: pd.DataFrame
    label: str
    splits: np.ndarray
    ids: list[str]
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    rows: np.ndarray | None = None


def recognizes(path: Path) -> bool:
    """Return whether this is a file or folder of rows without a column of images or image paths."""
    if parquet.recognizes_rows(path):
        return True
    files = _files(path)
    return bool(files) and find_column(read_column_names(files[0]), PATHS) is None


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the rows.

    Args:
        path: File, or folder of files.
        target: Target column; by default the first of ``TARGET_COLUMNS`` that exists.
        task: Whether the target column holds classes or values; ``"auto"`` decides from its cells.

    Returns:
        The rows by split, of kind "text" or "table".

    Raises:
        InputError: A file cannot be read, a column is missing, or a cell cannot be understood.
    """
    return list_rows(read_table(path, target), task)


def list_rows(table: Table, task: Task = "auto") -> Listing:
    """List the rows of a table as examples; arguments, result and errors are those of :func:`read`."""
    frame, splits, label = table.frame, table.splits, table.label
    text = next((name for name in TEXT_COLUMNS if name in frame and name != label), None)
    others = [name for name in frame.columns if name not in (label, text, *_RESERVED)]
    refuse_empty(frame[label].isna(), "value", label)
    labels, class_names, notes = parse_labels(frame[label], label, task)
    if class_names and table.class_names is not None:
        class_names, labels = _in_order(class_names, labels, table.class_names)
    if not class_names and "original_label" in frame:
        frame["original_label"] = original_values(frame["original_label"])
    if text is not None:
        sources: list[Any] = [Text(value) for value in _texts(frame[text], text)]
        groups = frame[[name for name in ("original_label", *others) if name in frame]]
    else:
        if not others:
            raise InputError(
                f"A table needs columns beside {label} to predict it from, but this one has none: add features."
            )
        features = _features(frame[others])
        plain = features.astype("object").where(features.notna(), None)
        sources = [Row(dict(zip(others, row, strict=True))) for row in plain.itertuples(index=False, name=None)]
        words = [name for name in others if not is_numeric_dtype(features[name])]
        words = [name for name in words if features[name].nunique() <= _MOST_GROUPS]
        groups = frame[[name for name in ("original_label", *words) if name in frame]]
    rows = np.arange(len(frame)) if table.rows is None else table.rows
    whole = Examples(table.ids, sources, labels, groups.reset_index(drop=True), rows)
    kind: Kind = "table" if text is None else "text"
    return Listing(whole.by_split(splits), class_names, notes=table.notes + notes, kind=kind, target=label)


def _in_order(names: list[str], labels: np.ndarray, wanted: list[str]) -> tuple[list[str], np.ndarray]:
    """Put the classes into the wanted order: their names, and the labels ``[n]`` as positions in these."""
    position = {name: i for i, name in enumerate(wanted)}
    return wanted, np.array([position[name] for name in names], dtype=np.int64)[labels]


def read_table(path: Path, target: str | None = None) -> Table:
    """Read all rows unchanged; the arguments are those of :func:`read`."""
    if parquet.recognizes_rows(path):
        return table_of(parquet.read_rows(path, target))
    frame, splits = _read_files(path)
    return Table(frame, _target_column(frame, target), splits, _ids(frame, splits))


def table_of(rows: ArrowRows) -> Table:
    """Return rows of Arrow tables as the table that is listed."""
    frame = rows.table.to_pandas(ignore_metadata=True)
    frame.columns = [normalize_name(str(name)).strip() for name in frame.columns]
    label = normalize_name(rows.label).strip()
    return Table(frame, label, rows.splits, rows.ids, rows.class_names.get(rows.label), rows.notes, rows.rows)


def rows_suffix(path: Path) -> str:
    """Return the suffix of the file, or of the files in the folder, in lower case."""
    return files_of(path)[0].suffix.lower()


def files_of(path: Path) -> list[Path]:
    """Return the files of a dataset in the order in which their rows are counted."""
    return parquet.files_of(path) if parquet.recognizes_rows(path) else _files(path)


# -- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in _READERS else []
    if not path.is_dir():
        return []
    found = [file for file in path.iterdir() if file.suffix.lower() in _READERS and not file.name.startswith(".")]
    return sorted(file for file in found if SPLIT_FILE.match(file.stem.lower()))


def _read_files(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read all rows, and the split of each ``[n]``."""
    frames, splits = [], []
    for file in _files(path):
        frame = _read_file(file)
        frames.append(frame)
        splits.append(_splits_of_rows(file, frame, by_name=path.is_dir()))
    if any(list(frame.columns) != list(frames[0].columns) for frame in frames):
        raise InputError(
            f"The files in {path} must have the same columns, but they differ: give them the same columns."
        )
    whole = pd.concat(frames, ignore_index=True)
    if whole.empty:
        raise InputError(f"{path} needs rows, but has none: add examples.")
    return whole, np.concatenate(splits)


def _read_file(file: Path) -> pd.DataFrame:
    try:
        frame = _READERS[file.suffix.lower()](file)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise InputError(f"The rows of {file} cannot be read ({_one_line(error)}): correct the file.") from error
    frame.columns = [normalize_name(str(name)).strip() for name in frame.columns]
    if frame.columns.duplicated().any():
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"Each column of {file} needs its own name, but two are called {twice!r}: rename one.")
    return frame


def _read_csv(file: Path, separator: str = ",") -> pd.DataFrame:
    return pd.read_csv(file, sep=separator, encoding="utf-8-sig", low_memory=False)


def _read_tsv(file: Path) -> pd.DataFrame:
    return _read_csv(file, "\t")


def _read_json_lines(file: Path) -> pd.DataFrame:
    _, rows, lines = read_json_lines(file)
    for row, line in zip(rows, lines, strict=True):
        if any(isinstance(value, dict | list) for value in row.values()):
            raise InputError(
                f"{file} must hold only plain values in line {line}, but it holds a list or an object: flatten it."
            )
    return pd.DataFrame.from_records(rows)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    JSON_LINES: _read_json_lines,
}


def _splits_of_rows(file: Path, frame: pd.DataFrame, by_name: bool) -> np.ndarray:
    """Return the split of each row: from the column ``split``, else, in a folder, from the file's name."""
    if "split" in frame:
        names = frame["split"].astype("str").str.lower()
        unknown = names[~names.isin(list(SPLIT_NAMES))]
        if len(unknown):
            raise InputError(
                f"The split column of {file} must hold {', '.join(SPLIT_NAMES)}, but row {unknown.index[0]} "
                f"holds {unknown.iloc[0]!r}: rename that split or remove its rows."
            )
        return names.map(SPLIT_NAMES).to_numpy(dtype=object)
    match = SPLIT_FILE.match(file.stem.lower()) if by_name else None
    return np.full(len(frame), SPLIT_NAMES[match.group(1)] if match else UNNAMED, dtype=object)


# -- columns ---------------------------------------------------------------------------------------------------------


def _target_column(frame: pd.DataFrame, requested: str | None) -> str:
    known = ", ".join(map(str, frame.columns[:20])) + (", ..." if len(frame.columns) > 20 else "")
    if requested is not None:
        if requested not in frame:
            raise InputError(f"There is no column {requested}; the columns are {known}: choose one of them.")
        return requested
    found = next((name for name in TARGET_COLUMNS if name in frame), None)
    if found is None:
        raise InputError(
            f"The data need a column called {', '.join(TARGET_COLUMNS[:-1])} or {TARGET_COLUMNS[-1]}, but the columns "
            f"are {known}: choose the target column with --target."
        )
    return found


def _texts(column: pd.Series, name: str) -> list[str]:
    texts = column.fillna("").astype("str").str.strip()
    refuse_empty(texts == "", "text", name)
    return texts.tolist()


def _features(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert each column to float64 or words; cells may be empty.

    Raises:
        InputError: A number is infinite, or a column is empty.
    """
    columns = {}
    for name, column in frame.items():
        if column.isna().all():
            raise InputError(f"The column {name} needs values, but it has none: remove it.")
        if is_numeric_dtype(column) and not is_bool_dtype(column):
            numbers = column.astype("float64")
            infinite = np.flatnonzero(np.isinf(numbers))
            if len(infinite):
                raise InputError(
                    f"The column {name} must hold finite numbers, but that of row {infinite[0]} is not finite: correct "
                    "it."
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
