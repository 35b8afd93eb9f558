"""Files of rows: CSV, TSV and JSON Lines, alone or one for each split, as one table."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.datasets.formats.columns import cells_of, listed
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.left_out import NESTED, aside_notes, refuse_as_target
from attribution_core.datasets.formats.row_files import (
    JSON_LINES,
    clean_columns,
    find_column,
    read_json_lines,
)
from attribution_core.datasets.listing import UNNAMED, normalize_name, numbered_ids
from attribution_core.datasets.split_names import splits_of_cells, splits_of_files
from attribution_core.errors import InputError

TARGET_COLUMNS = ("label", "target", "class", "y")


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
        aside: Columns that are left aside, with what they hold.
        place: Function that names a row in messages.
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
    aside: dict[str, str] = field(default_factory=dict)
    place: Callable[[int], str] = "row {}".format


@dataclass(frozen=True, eq=False)
class _File:
    """The rows of one file: texts, or in JSON also other values.

    Attributes:
        frame: The rows.
        lines: Line on which each row begins, counted from 1.
        notes: Sentences that a user should read.
        decimal_comma: Whether the file writes 0,5 for 0.5.
        nested: Columns that hold lists or structures in some row.
    """

    frame: pd.DataFrame
    lines: list[int]
    notes: list[str] = field(default_factory=list)
    decimal_comma: bool = False
    nested: frozenset[str] = frozenset()


def files_in(path: Path) -> list[Path]:
    """Return a file itself if it is one of rows; of a folder, those that are named after splits, in order."""
    if path.is_file():
        return [path] if path.suffix.lower() in READERS else []
    return sorted(path / name for name in _split_files(path)) if path.is_dir() else []


def _split_files(folder: Path) -> dict[str, str]:
    """Return the files of rows in a folder that are named after splits, and the split of each.

    Raises:
        InputError: Files call a split by different words, or hold one split in different formats.
    """
    found = {file.name: file.stem for file in row_files(folder)}
    meant = splits_of_files(set(found.values()), str(folder))
    splits = {name: meant[stem] for name, stem in found.items() if stem in meant}
    for split in set(splits.values()):
        same = sorted(name for name in splits if splits[name] == split)
        if len({Path(name).suffix.lower() for name in same}) > 1:
            raise InputError(
                f"{folder} must hold its {split} split in one format, but it holds {' and '.join(same[:2])}: keep one."
            )
    return splits


def row_files(folder: Path) -> list[Path]:
    """Return all files of rows in a folder."""
    return [file for file in folder.iterdir() if file.suffix.lower() in READERS and not file.name.startswith(".")]


def read_files(path: Path, target: str | None) -> Table:
    """Read all rows of a file or folder; the target is the requested column, or the one with a usual name.

    Raises:
        InputError: A file cannot be read, there are no rows, or the files or their columns do not fit together.
    """
    files = files_in(path)
    found = [_read_file(file) for file in files]
    if not any(len(each.frame) for each in found):
        raise InputError(f"{path} needs rows, but has none: add examples.")
    aside = dict.fromkeys(sorted(set().union(*(each.nested for each in found))), NESTED)
    columns = [name for name in dict.fromkeys(str(name) for each in found for name in each.frame) if name not in aside]
    label = _target_column(columns, target, aside)
    for file, each in zip(files, found, strict=True):
        missing = [name for name in columns if name != label and name not in each.frame]
        if missing and len(each.frame):
            raise InputError(
                f"The files in {path} must have the same columns, but {file.name} has no column {missing[0]}: give "
                "them the same columns."
            )
    # A file without the target column, as competitions hand out their test rows, has no labels.
    frame = pd.concat([each.frame.reindex(columns=columns) for each in found], ignore_index=True)
    splits, split_names = _splits(path, files, [len(each.frame) for each in found], frame)
    notes = list(dict.fromkeys(note for each in found for note in each.notes)) + aside_notes(aside)
    if path.is_dir():
        notes += files_left_out({file.name for file in row_files(path)} - {file.name for file in files})
    return Table(
        frame,
        label,
        splits,
        _ids(frame, splits),
        notes=notes,
        decimal_comma=any(each.decimal_comma for each in found),
        split_names=split_names,
        aside=aside,
        place=partial(_place, list(zip(files, [each.lines for each in found], strict=True))),
    )


def _place(files: list[tuple[Path, list[int]]], row: int) -> str:
    """Name a row among those of all files by its line."""
    for file, lines in files:
        if row < len(lines):
            return f"line {lines[row]}" if len(files) == 1 else f"line {lines[row]} of {file.name}"
        row -= len(lines)
    raise IndexError(row)


def files_left_out(names: Collection[str]) -> list[str]:
    """Return a sentence that names files without a split, if there are any."""
    return [f"Files that belong to no split were left out: {listed(sorted(names))}."] if names else []


def _read_file(file: Path) -> _File:
    try:
        found = READERS[file.suffix.lower()](file)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"The rows of {file} cannot be read ({_one_line(error)}): correct the file.") from error
    found.frame.columns = pd.Index(clean_columns([str(name) for name in found.frame.columns], file))
    return found


def _read_delimited(file: Path) -> _File:
    rows = read_delimited(file)
    frame = pd.DataFrame({i: pd.arrays.ArrowExtensionArray(cells) for i, cells in enumerate(rows.by_column)})
    frame.columns = pd.Index(rows.columns)
    return _File(frame, rows.lines, rows.notes, decimal_comma=rows.dialect.delimiter == ";")


def _read_json_lines(file: Path) -> _File:
    columns, rows, lines = read_json_lines(file, exact=True)
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype="object") for name in columns})
    nested = {name for row in rows for name, value in row.items() if isinstance(value, dict | list)}
    return _File(frame, lines, nested=frozenset(clean_columns([name for name in columns if name in nested], file)))


READERS: dict[str, Callable[[Path], _File]] = {
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


def _target_column(columns: list[str], requested: str | None, aside: dict[str, str]) -> str:
    known = listed(columns, most=20)
    usual = find_column(columns, TARGET_COLUMNS)
    wrong = requested if requested in aside else find_column(list(aside), TARGET_COLUMNS) if usual is None else None
    if wrong is not None and requested in (None, wrong):
        raise refuse_as_target(wrong, aside[wrong], columns)
    if requested is not None:
        if requested not in columns:
            raise InputError(f"There is no column {requested}; the columns are {known}: choose one of them.")
        return requested
    if usual is None:
        raise InputError(
            f"The data need a column called {', '.join(TARGET_COLUMNS[:-1])} or {TARGET_COLUMNS[-1]}, but the columns "
            f"are {known}: choose the target column with --target."
        )
    return usual


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
