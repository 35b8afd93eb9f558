"""Read scores of another library: tables by id, and NumPy arrays in the order of the training examples."""

from __future__ import annotations

import math
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.datasets.formats.columns import with_points
from attribution_core.datasets.formats.delimited import DELIMITERS, read_delimited
from attribution_core.datasets.formats.row_files import clean_columns
from attribution_core.datasets.targets import are_numbers
from attribution_core.errors import InputError

_ID = "id"


def read_scores(file: Path, ids: pd.Series, others: pd.Series) -> dict[str, np.ndarray]:
    """Read a file of scores for the training examples of a run.

    Args:
        file: ``.csv``, ``.tsv`` or ``.parquet`` with a column ``id`` and columns of scores, or ``.npy``. Delimiters,
            encodings and decimal commas are understood as in datasets.
        ids: Ids of the training examples, ``[n]``.
        others: Ids of the run's other examples, whose rows are passed over.

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
    if suffix in DELIMITERS:
        table = _text_table(file)
    elif suffix == ".parquet":
        table = _parquet_table(file)
    else:
        raise InputError(f"Expected scores as .csv, .tsv, .parquet or .npy, not as {file.name}.")
    found = pd.DataFrame({name: column for name, column in table.items() if name != _ID})
    ordered = by_id(found, table[_ID], ids, others, file.name)
    return {str(name): column.to_numpy() for name, column in ordered.items()}


def by_id(
    table: pd.DataFrame, given: pd.Series | pd.Index, ids: pd.Series, others: pd.Series, where: str
) -> pd.DataFrame:
    """Return the rows of a table in the order of ``ids``.

    Args:
        table: Rows in any order.
        given: Ids of these rows.
        ids: Ids of the training examples, each once.
        others: Ids of the run's other examples, which the run's own list has too: their rows are passed over.
        where: Name of the table in errors.

    Raises:
        InputError: An id is missing, unknown or repeated.
    """
    rows, wanted = pd.Index(given.astype("str")), pd.Index(ids.astype("str"))
    # In a list that a run exported, an apostrophe keeps a spreadsheet from running an id as a formula.
    rows = rows.where(rows.isin(wanted), rows.str.removeprefix("'"))
    kept = rows.isin(wanted) | ~rows.isin(pd.Index(others.astype("str")))
    table, rows = table[kept], rows[kept]
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


def _text_table(file: Path) -> dict[str, pd.Series]:
    """Read a text table: ids as text, the other columns as numbers."""
    try:
        rows = read_delimited(file)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}).") from error
    header = clean_columns(rows.columns, file)
    _check_header(header, file)
    decimal_comma = rows.dialect.delimiter == ";"
    return {
        name: pd.Series(cells, dtype="str") if name == _ID else _floats(name, cells, rows.lines, file, decimal_comma)
        for name, cells in zip(header, (column.to_pylist() for column in rows.by_column), strict=True)
    }


def _floats(name: str, cells: list[str], lines: list[int], file: Path, decimal_comma: bool) -> pd.Series:
    texts = pd.Series(cells, dtype="object").str.strip()
    there = texts[texts != ""]
    if not are_numbers(there).all():
        usual = with_points(there, decimal_comma)
        texts.update(there if usual is None else usual)
    values = []
    for text, cell, line in zip(texts, cells, lines, strict=True):
        try:
            values.append(float(text) if text else math.nan)
        except ValueError as error:
            raise InputError(
                f"Column {name[:80]!r} of {file} must hold numbers, but row {line:,} has {cell[:40]!r}. Remove "
                "columns that are not scores, and leave the cell of a missing score empty."
            ) from error
        if text and not math.isfinite(values[-1]):
            raise InputError(
                f"Column {name[:80]!r} of {file} has {cell[:40]!r} in row {line:,}, but scores must be finite. Leave "
                "the cell of a missing score empty."
            )
    return pd.Series(values, dtype="float64")


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
