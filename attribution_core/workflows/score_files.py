"""Read scores of another library: tables by id, and NumPy arrays in the order of the training examples."""

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
    """Read a file of scores for the training examples of a run.

    Args:
        file: ``.csv``, ``.tsv`` or ``.parquet`` with a column ``id`` and columns of scores, or ``.npy``.
        ids: Ids of the training examples, ``[n]``.

    Returns:
        Scores by column, in the order of ``ids``, ``[n]`` and float64, with NaN for an empty cell; for ``.npy``, the
        array as stored, under the file's name.

    Raises:
        InputError: The file cannot be read, or its ids are not those of the run, each once.
    """
    if not file.is_file():
        raise InputError(f"There is no file {file}. Give the scores as .csv, .tsv, .parquet or .npy.")
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return {file.stem: _array(file)}
    if suffix in _DELIMITERS:
        table = _text_table(file, _DELIMITERS[suffix])
    elif suffix == ".parquet":
        table = _parquet_table(file)
    else:
        raise InputError(f"Expected scores as .csv, .tsv, .parquet or .npy, not as {file.name}.")
    found = pd.DataFrame({name: column for name, column in table.items() if name != _ID})
    return {str(name): column.to_numpy() for name, column in by_id(found, table[_ID], ids, file.name).items()}


def by_id(table: pd.DataFrame, given: pd.Series | pd.Index, ids: pd.Series, where: str) -> pd.DataFrame:
    """Return the rows of a table in the order of ``ids``.

    Args:
        table: Rows in any order.
        given: Ids of these rows.
        ids: Ids of the training examples, each once.
        where: Name of the table in errors.

    Raises:
        InputError: An id is missing, unknown or repeated.
    """
    rows, wanted = pd.Index(given.astype("str")), pd.Index(ids.astype("str"))
    # In a list that a run exported, an apostrophe keeps a spreadsheet from running an id as a formula.
    rows = rows.where(rows.isin(wanted), rows.str.removeprefix("'"))
    twice, unknown, missing = rows[rows.duplicated()], rows[~rows.isin(wanted)], wanted[~wanted.isin(rows)]
    for wrong, what in ((twice, "repeated"), (unknown, "unknown to the run"), (missing, "missing")):
        if len(wrong):
            raise InputError(
                f"{where} needs one row for each of the run's {len(ids):,} training examples, but {len(wrong):,} "
                f"{'id is' if len(wrong) == 1 else 'ids are'} {what}, first {str(wrong[0])[:80]!r}. Take the ids from "
                "the run's list (`samplescope export RUN --format csv`)."
            )
    return table.iloc[rows.get_indexer(wanted)]


def _array(file: Path) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # a header may give a wrong size
            found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:
        raise InputError(f"Expected {file} to hold an array of numbers written by np.save ({error}).") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{file} holds several arrays. Save the right one with np.save.")
    return found


def _text_table(file: Path, delimiter: str) -> dict[str, pd.Series]:
    """Read a text table: ids as text, the other columns as numbers."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, delimiter=delimiter, strict=True)
            header = next(lines, [])
            _check_header(header, file)
            rows = list(_rows(lines, len(header), file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as a table in UTF-8 ({error}).") from error
    columns = {name: [row[at] for _, row in rows] for at, name in enumerate(header)}
    numbers = [number for number, _ in rows]
    return {
        name: pd.Series(cells if name == _ID else _floats(name, cells, numbers, file), dtype=kind)
        for name, cells in columns.items()
        for kind in ["str" if name == _ID else "float64"]
    }


def _rows(lines: Iterator[list[str]], width: int, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with its number; the header is row 1."""
    for number, row in enumerate(lines, start=2):
        if row and len(row) != width:
            raise InputError(f"Row {number:,} of {file} has {len(row)} cells, but the header has {width}.")
        if row:
            yield number, row


def _floats(name: str, cells: list[str], numbers: list[int], file: Path) -> list[float]:
    values = []
    for cell, number in zip(cells, numbers, strict=True):
        try:
            values.append(float(cell) if cell.strip() else math.nan)
        except ValueError as error:
            raise InputError(
                f"Column {name[:80]!r} of {file} must hold numbers, but row {number:,} has {cell[:40]!r}. Remove "
                "columns that are not scores, and leave the cell of a missing score empty."
            ) from error
        if cell.strip() and not math.isfinite(values[-1]):
            raise InputError(
                f"Column {name[:80]!r} of {file} has {cell[:40]!r} in row {number:,}, but scores must be finite. Leave "
                "the cell of a missing score empty."
            )
    return values


def _parquet_table(file: Path) -> dict[str, pd.Series]:
    """Read a Parquet table: ids as text, the other columns as numbers; a named pandas index counts as a column."""
    try:
        table = pq.read_table(file)
        table = table.select([name for name in table.column_names if not name.startswith("__index_level_")])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read as Parquet ({error}).") from error
    _check_header(table.column_names, file)
    for field in table.schema:
        if field.name != _ID and not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            raise InputError(
                f"Column {field.name[:80]!r} of {file} must hold numbers, but its type is {field.type}. Remove columns "
                "that are not scores."
            )
    frame = table.to_pandas(ignore_metadata=True)
    return {name: frame[name].astype("str" if name == _ID else "float64") for name in frame.columns}


def _check_header(names: list[str], file: Path) -> None:
    shown = ", ".join(repr(name[:40]) for name in names[:8]) or "none"
    if names.count(_ID) != 1 or len(names) < 2 or len(set(names)) != len(names):
        raise InputError(
            f"{file} needs a column `id` and at least one column of scores, each name once. Its columns are {shown}."
        )
