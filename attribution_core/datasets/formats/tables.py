"""Texts and rows of tables, from CSV, TSV, JSON Lines or Parquet files.

A dataset is one file, or a folder with one file for each split (``train.csv``, ``test.csv``). The target column is the
one requested, else label, target, class or y; it holds classes, or the values of a regression. With a column called
text (or sentence, review, ...), a row is a text and its other columns are groups; without one, every other column is a
feature of the row, and columns of words are groups too. ``split``, ``id`` and ``original_label`` have the same meaning
as for images.
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.datasets.formats import parquet
from attribution_core.datasets.formats.arrow_rows import ArrowRows
from attribution_core.datasets.formats.columns import (
    MOST_CATEGORIES,
    cells_of,
    listed,
    sort_columns,
    what_is_used,
)
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.image_paths import image_column
from attribution_core.datasets.formats.layout import data_folder
from attribution_core.datasets.formats.row_files import (
    JSON_LINES,
    clean_columns,
    find_column,
    read_json_lines,
)
from attribution_core.datasets.leaks import leak_notes
from attribution_core.datasets.listing import UNNAMED, Examples, Kind, Listing, normalize_name, numbered_ids
from attribution_core.datasets.split_names import splits_of_cells, splits_of_files
from attribution_core.datasets.targets import Task, original_values, parse_cells, refuse_empty
from attribution_core.errors import InputError

TARGET_COLUMNS = ("label", "target", "class", "y")
_RESERVED = ("split", "id", "original_label")
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)  # one for all rows: making one takes as long as a row
_DECIMALS = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?")


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
        return _ENCODER.encode(self.values).encode()

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
        decimal_comma: Whether the file writes 0,5 for 0.5, as files with semicolons do.
        split_names: What the data call each split.
    """

    frame: pd.DataFrame
    label: str
    splits: np.ndarray
    ids: list[str]
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    rows: np.ndarray | None = None
    decimal_comma: bool = False
    split_names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _File:
    """The rows of one file: texts, or in Parquet and JSON also other plain values."""

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    decimal_comma: bool = False


def recognizes(path: Path) -> bool:
    """Return whether this is a file or folder of rows without a column of images or image paths."""
    if parquet.recognizes_rows(path):
        return True
    files = files_of(path)
    return bool(files) and image_column(files[0]) is None


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
    frame, label = table.frame, table.label
    cells = cells_of(frame[label])
    refuse_empty(cells.isna(), "value", label)
    labels, class_names, notes = parse_cells(_decimal_points(cells, table), label, task)
    if class_names and table.class_names is not None:
        class_names, labels = _in_order(class_names, labels, table.class_names)
    others = [str(name) for name in frame if name != label and not _is_reserved(str(name))]
    columns = sort_columns(frame, others, label, table.splits, table.decimal_comma)
    groups = _original_labels(frame, is_value=not class_names)
    if columns.text is not None:
        kind: Kind = "text"
        sources: list[Any] = [Text(value) for value in _texts(frame[columns.text], columns.text)]
        groups |= {
            name: values for name, values in columns.features.items() if name not in (columns.text, *columns.aside)
        }
    else:
        kind = "table"
        features = pd.DataFrame(columns.features)
        plain = features.astype("object").where(features.notna(), None)
        names = list(columns.features)
        sources = [Row(dict(zip(names, row, strict=True))) for row in plain.itertuples(index=False, name=None)]
        groups |= {
            name: values
            for name, values in columns.features.items()
            if values.dtype != np.float64 and values.nunique() <= MOST_CATEGORIES
        }
        notes += leak_notes(columns.features, labels, not class_names, label)
    grouped = pd.DataFrame(groups, index=frame.index).reset_index(drop=True)
    rows = np.arange(len(frame)) if table.rows is None else table.rows
    return Listing(
        Examples(table.ids, sources, labels, grouped, rows).by_split(table.splits),
        class_names,
        notes=table.notes + columns.notes + notes,
        kind=kind,
        target=label,
        what=what_is_used(columns),
        split_names=table.split_names,
    )


def _is_reserved(name: str) -> bool:
    return name.lower() in _RESERVED


def _original_labels(frame: pd.DataFrame, is_value: bool) -> dict[str, pd.Series]:
    """Return the column ``original_label``, if there is one, as the target column is read."""
    name = find_column(list(frame.columns), ("original_label",))
    if name is None:
        return {}
    cells = cells_of(frame[name])
    if is_value:
        return {"original_label": original_values(cells.rename("original_label"))}
    return {"original_label": cells.map(lambda text: normalize_name(text.strip()), na_action="ignore")}


def _decimal_points(cells: pd.Series, table: Table) -> pd.Series:
    """Return cells such as 0,5 as 0.5 if the file writes numbers so and all cells are numbers."""
    texts = cells.str.strip()
    if table.decimal_comma and texts.str.fullmatch(_DECIMALS).all():
        return texts.str.replace(",", ".", regex=False)
    return cells


def _in_order(names: list[str], labels: np.ndarray, wanted: list[str]) -> tuple[list[str], np.ndarray]:
    """Put the classes into the wanted order: their names, and the labels ``[n]`` as positions in these."""
    position = {name.strip(): i for i, name in enumerate(wanted)}
    return wanted, np.array([position[name] for name in names], dtype=np.int64)[labels]


def read_table(path: Path, target: str | None = None) -> Table:
    """Read all rows unchanged; the arguments are those of :func:`read`."""
    if not parquet.recognizes_rows(path):
        return _read_files(data_folder(path, _READERS), target)
    table = table_of(parquet.read_rows(path, target))
    others = [file.name for file in _row_files(path)] if path.is_dir() else []
    return replace(table, notes=table.notes + _left_out(others))


def table_of(rows: ArrowRows) -> Table:
    """Return rows of Arrow tables as the table that is listed."""
    frame = rows.table.to_pandas(ignore_metadata=True)
    frame.columns = pd.Index([normalize_name(str(name)).strip() for name in frame.columns])
    label = normalize_name(rows.label).strip()
    return Table(
        frame,
        label,
        rows.splits,
        rows.ids,
        rows.class_names.get(rows.label),
        rows.notes,
        rows.rows,
        split_names=rows.split_names,
    )


def files_of(path: Path) -> list[Path]:
    """Return the files of a dataset in the order in which their rows are counted."""
    return parquet.files_of(path) if parquet.recognizes_rows(path) else _files(data_folder(path, _READERS))


# -- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in _READERS else []
    return sorted(path / name for name in _split_files(path)) if path.is_dir() else []


def _split_files(folder: Path) -> dict[str, str]:
    """Return the files of rows in a folder that are named after splits, and the split of each.

    Raises:
        InputError: Files call a split by different words, or hold one split in different formats.
    """
    found = {file.name: file.stem for file in _row_files(folder)}
    meant = splits_of_files(set(found.values()), str(folder))
    splits = {name: meant[stem] for name, stem in found.items() if stem in meant}
    for split in set(splits.values()):
        same = sorted(name for name in splits if splits[name] == split)
        if len({Path(name).suffix.lower() for name in same}) > 1:
            raise InputError(
                f"{folder} must hold its {split} split in one format, but it holds {' and '.join(same[:2])}: keep one."
            )
    return splits


def _row_files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix.lower() in _READERS and not file.name.startswith(".")]


def _read_files(path: Path, target: str | None) -> Table:
    files = _files(path)
    found = [_read_file(file) for file in files]
    first = found[0].frame
    if any(set(each.frame.columns) != set(first.columns) for each in found):
        raise InputError(
            f"The files in {path} must have the same columns, but they differ: give them the same columns."
        )
    frame = pd.concat([each.frame[list(first.columns)] for each in found], ignore_index=True)
    if frame.empty:
        raise InputError(f"{path} needs rows, but has none: add examples.")
    splits, split_names = _splits(path, files, [len(each.frame) for each in found], frame)
    notes = list(dict.fromkeys(note for each in found for note in each.notes))
    if path.is_dir():
        notes += _left_out({file.name for file in _row_files(path)} - {file.name for file in files})
    label = _target_column(frame, target)
    decimal_comma = any(each.decimal_comma for each in found)
    ids = _ids(frame, splits)
    return Table(frame, label, splits, ids, notes=notes, decimal_comma=decimal_comma, split_names=split_names)


def _left_out(names: Collection[str]) -> list[str]:
    return [f"Files that belong to no split were left out: {listed(sorted(names))}."] if names else []


def _read_file(file: Path) -> _File:
    try:
        found = _READERS[file.suffix.lower()](file)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"The rows of {file} cannot be read ({_one_line(error)}): correct the file.") from error
    found.frame.columns = pd.Index(clean_columns([str(name) for name in found.frame.columns], file))
    return found


def _read_delimited(file: Path) -> _File:
    rows = read_delimited(file)
    frame = pd.DataFrame(dict(enumerate(rows.by_column)), dtype="object")
    frame.columns = pd.Index(rows.columns)
    return _File(frame, rows.notes, decimal_comma=rows.dialect.delimiter == ";")


def _read_json_lines(file: Path) -> _File:
    columns, rows, lines = read_json_lines(file, exact=True)
    for row, line in zip(rows, lines, strict=True):
        if any(isinstance(value, dict | list) for value in row.values()):
            raise InputError(
                f"{file} must hold only plain values in line {line}, but it holds a list or an object: flatten it."
            )
    return _File(pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype="object") for name in columns}))


_READERS: dict[str, Callable[[Path], _File]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    JSON_LINES: _read_json_lines,
}


def _splits(path: Path, files: list[Path], sizes: list[int], frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, str]]:
    """Return the split of each row ``[n]`` and how the data call the splits.

    The column ``split`` says so, else, in a folder, the name of the file.
    """
    column = find_column(list(frame.columns), ("split",))
    if column is not None:
        cells = frame[column].astype("str").str.strip()
        meant = splits_of_cells(cells, f"the column {column} of {path}")
        return cells.map(meant).to_numpy(dtype=object), {split: str(cell) for cell, split in meant.items()}
    if not path.is_dir():
        return np.full(len(frame), UNNAMED, dtype=object), {}
    by_name = _split_files(path)
    splits = [by_name[file.name] for file in files]
    return np.repeat(np.array(splits, dtype=object), sizes), {
        split: file.stem for split, file in zip(splits, files, strict=True) if splits.count(split) == 1
    }


# -- columns ---------------------------------------------------------------------------------------------------------


def _target_column(frame: pd.DataFrame, requested: str | None) -> str:
    known = listed(list(frame.columns), most=20)
    if requested is not None:
        if requested not in frame:
            raise InputError(f"There is no column {requested}; the columns are {known}: choose one of them.")
        return requested
    found = find_column(list(frame.columns), TARGET_COLUMNS)
    if found is None:
        raise InputError(
            f"The data need a column called {', '.join(TARGET_COLUMNS[:-1])} or {TARGET_COLUMNS[-1]}, but the columns "
            f"are {known}: choose the target column with --target."
        )
    return found


def _texts(column: pd.Series, name: str) -> list[str]:
    cells = cells_of(column)
    refuse_empty(cells.isna(), "text", name)
    return cells.str.strip().tolist()


def _ids(frame: pd.DataFrame, splits: np.ndarray) -> list[str]:
    """Return the cells of the column ``id`` if all have one; else the rows' numbers.

    A column whose name is written otherwise, such as ``Id``, counts if its cells differ.
    """
    name = find_column(list(frame.columns), ("id",))
    if name is not None:
        cells = cells_of(frame[name])
        if cells.notna().all() and (name == "id" or cells.is_unique):
            return [normalize_name(text) for text in cells]
    return numbered_ids(splits)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
