"""Files of scores that another library made: tables by id, and NumPy arrays in the order of the training examples."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.errors import InputError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ID = "id"


def read_scores(file: Path, ids: pd.Series) -> dict[str, np.ndarray]:
    """What a file holds for the training examples of a run.

    Args:
        file: ``.csv``, ``.tsv`` or ``.parquet`` with a column ``id`` and columns of scores, or ``.npy``.
        ids: Of the training examples, ``[n]``.

    Returns:
        By column, in the order of ``ids``, ``[n]`` and float64, NaN where a cell is empty; of ``.npy`` the array as it
        lies on the disk, by the file's name.

    Raises:
        InputError: If the file can't be read, or its ids are not those of the run, each once.
    """
    if not file.is_file():
        raise InputError(f"There is no file {file}: give the scores as .csv, .tsv, .parquet or .npy.")
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return {file.stem: _array(file)}
    if suffix in _DELIMITERS:
        table = _text_table(file, _DELIMITERS[suffix])
    elif suffix == ".parquet":
        table = _parquet_table(file)
    else:
        raise InputError(f"Scores come as .csv, .tsv, .parquet or .npy, not as {file.name}.")
    found = pd.DataFrame({name: column for name, column in table.items() if name != _ID})
    return {str(name): column.to_numpy() for name, column in by_id(found, table[_ID], ids, file.name).items()}


def by_id(table: pd.DataFrame, given: pd.Series | pd.Index, ids: pd.Series, where: str) -> pd.DataFrame:
    """The rows of a table in the order of ``ids``.

    Args:
        table: Rows in any order.
        given: Their ids.
        ids: Of the training examples, each once.
        where: What the table is called in an error.

    Raises:
        InputError: If an id is missing, unknown or there twice.
    """
    rows, wanted = pd.Index(given.astype("str")), pd.Index(ids.astype("str"))
    # In a list that a run exported, an apostrophe keeps a spreadsheet from running an id as a formula.
    rows = rows.where(rows.isin(wanted), rows.str.removeprefix("'"))
    twice, unknown, missing = rows[rows.duplicated()], rows[~rows.isin(wanted)], wanted[~wanted.isin(rows)]
    for wrong, what in ((twice, "twice or more"), (unknown, "that the run does not have"), (missing, "not at all")):
        if len(wrong):
            raise InputError(
                f"{where} is to have a row for each of the run's {len(ids):,} training examples by its id, but has "
                f"{len(wrong):,} {what}, the first {str(wrong[0])[:80]!r}: take the ids from the run's list "
                "(samplescope export RUN --format csv)."
            )
    return table.iloc[rows.get_indexer(wanted)]


def _array(file: Path) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # a header may lie about the size
            found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:
        raise InputError(f"{file} is not an array of numbers as np.save writes it ({error}).") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{file} holds several arrays: save the one with np.save.")
    return found


def _text_table(file: Path, delimiter: str) -> dict[str, pd.Series]:
    """Ids as text, the other columns as numbers."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, delimiter=delimiter, strict=True)
            header = next(lines, [])
            _check_header(header, file)
            rows = list(_rows(lines, len(header), file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} can't be read as a table in UTF-8 ({error}).") from error
    columns = {name: [row[at] for _, row in rows] for at, name in enumerate(header)}
    numbers = [number for number, _ in rows]
    return {
        name: pd.Series(cells if name == _ID else _floats(name, cells, numbers, file), dtype=kind)
        for name, cells in columns.items()
        for kind in ["str" if name == _ID else "float64"]
    }


def _rows(lines: Iterator[list[str]], width: int, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with its number, the header being the first."""
    for number, row in enumerate(lines, start=2):
        if row and len(row) != width:
            raise InputError(f"Row {number:,} of {file} has {len(row)} cells where the header has {width}.")
        if row:
            yield number, row


def _floats(name: str, cells: list[str], numbers: list[int], file: Path) -> list[float]:
    values = []
    for cell, number in zip(cells, numbers, strict=True):
        try:
            values.append(float(cell) if cell.strip() else math.nan)
        except ValueError as error:
            raise InputError(
                f"Column {name[:80]!r} of {file} is to hold numbers, but row {number:,} says {cell[:40]!r}: leave out "
                "columns that are not scores, and leave a cell empty where there is none."
            ) from error
        if cell.strip() and not math.isfinite(values[-1]):
            raise InputError(
                f"Column {name[:80]!r} of {file} says {cell[:40]!r} in row {number:,}: scores are finite, and a cell "
                "is empty where there is none."
            )
    return values


def _parquet_table(file: Path) -> dict[str, pd.Series]:
    """Ids as text, the other columns as numbers; pandas' index is a column like the others where it has a name."""
    try:
        table = pq.read_table(file)
        table = table.select([name for name in table.column_names if not name.startswith("__index_level_")])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file} can't be read as Parquet ({error}).") from error
    _check_header(table.column_names, file)
    for field in table.schema:
        if field.name != _ID and not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            raise InputError(
                f"Column {field.name[:80]!r} of {file} is to hold numbers, but its type is {field.type}: leave out "
                "columns that are not scores."
            )
    frame = table.to_pandas(ignore_metadata=True)
    return {name: frame[name].astype("str" if name == _ID else "float64") for name in frame.columns}


def _check_header(names: list[str], file: Path) -> None:
    shown = ", ".join(repr(name[:40]) for name in names[:8]) or "none"
    if names.count(_ID) != 1 or len(names) < 2 or len(set(names)) != len(names):
        raise InputError(
            f"{file} is to have a column id, one or more columns of scores and each name once; its columns: {shown}."
        )
