"""Texts and rows of tables, from CSV, TSV, JSON Lines or Parquet files.

A dataset is one file, or a folder with one file for each split (``train.csv``, ``test.csv``). The target column is the
one requested, else label, target, class or y; it holds classes, or the values of a regression. With a column called
text (or sentence, review, ...), a row is a text and its other columns are groups; without one, every other column is a
feature of the row, and columns of words are groups too. ``split``, ``id`` and ``original_label`` have the same meaning
as for images.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.datasets.formats import parquet
from attribution_core.datasets.formats.arrow_rows import ArrowRows
from attribution_core.datasets.formats.columns import (
    MOST_CATEGORIES,
    cells_of,
    sort_columns,
    what_is_used,
)
from attribution_core.datasets.formats.image_paths import image_column
from attribution_core.datasets.formats.layout import data_folder
from attribution_core.datasets.formats.left_out import listed_with_and, unlabeled_notes, unlabeled_rows
from attribution_core.datasets.formats.row_files import (
    find_column,
)
from attribution_core.datasets.formats.table_files import (
    READERS,
    Table,
    files_in,
    files_left_out,
    read_files,
    row_files,
)
from attribution_core.datasets.leaks import leak_notes
from attribution_core.datasets.listing import Examples, Kind, Listing, normalize_name
from attribution_core.datasets.targets import (
    MISSING_MARKS,
    Task,
    are_all,
    missing_values,
    original_values,
    parse_cells,
    refuse_empty,
)
from attribution_core.errors import InputError

_RESERVED = ("split", "id", "original_label")
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)  # one for all rows: making one takes as long as a row
_INTEGER, _MINUS_ONE = re.compile(r"\s*-?[0-9]+\s*"), re.compile(r"\s*-1\s*")
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
        target: Target column; by default the first of label, target, class and y that exists.
        task: Whether the target column holds classes or values; ``"auto"`` decides from its cells.

    Returns:
        The rows by split, of kind "text" or "table".

    Raises:
        InputError: A file cannot be read, a column is missing, or a cell cannot be understood.
    """
    return list_rows(read_table(path, target), task)


def list_rows(table: Table, task: Task = "auto") -> Listing:
    """List the rows of a table as examples; arguments, result and errors are those of :func:`read`."""
    table = _labeled(table, task)
    frame, label = table.frame, table.label
    labels, class_names, notes = parse_cells(frame[label], label, task)
    if class_names and table.class_names is not None:
        class_names, labels = _in_order(class_names, labels, table.class_names)
    others = [str(name) for name in frame if name != label and not _is_reserved(str(name))]
    if not others and table.aside:
        holds = " and ".join(dict.fromkeys(table.aside.values()))
        raise InputError(
            f"A table needs columns of plain values beside {label} to predict it from, but this one has none beside "
            f"{listed_with_and(list(table.aside))}, of {holds}: write their values into columns of their own."
        )
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


def _labeled(table: Table, task: Task) -> Table:
    """Return the rows that have a label, with the labels as texts; note the others."""
    cells = cells_of(table.frame[table.label])
    there = _decimal_points(cells.dropna(), table)
    hidden = are_all(there, _MINUS_ONE) if are_all(there, _INTEGER).all() else pd.Series(False, index=there.index)
    unlabeled = unlabeled_rows(
        cells.isna().to_numpy(), hidden.reindex(cells.index, fill_value=False).to_numpy(dtype=bool), table.splits
    )
    unlabeled[there.index[missing_values(there, task)]] = True
    notes = unlabeled_notes(unlabeled, table.splits, table.label, table.place)
    kept = np.flatnonzero(~unlabeled)
    rows = np.arange(len(cells)) if table.rows is None else table.rows
    frame = table.frame.iloc[kept].assign(**{table.label: there.reindex(kept)})
    return replace(
        table,
        frame=frame.set_axis(rows[kept]),  # by which messages name rows
        splits=table.splits[kept],
        ids=[table.ids[row] for row in kept],
        rows=rows[kept],
        notes=table.notes + notes,
    )


def _decimal_points(texts: pd.Series, table: Table) -> pd.Series:
    """Return cells such as 0,5 as 0.5 if the file writes numbers so and all cells are numbers, or NA and the like."""
    stripped = texts.str.strip()
    is_number = are_all(stripped, _DECIMALS)
    if table.decimal_comma and stripped[~is_number].str.lower().isin(MISSING_MARKS).all():
        return stripped.where(~is_number, stripped.str.replace(",", ".", regex=False))
    return texts


def _in_order(names: list[str], labels: np.ndarray, wanted: list[str]) -> tuple[list[str], np.ndarray]:
    """Put the classes into the wanted order: their names, and the labels ``[n]`` as positions in these."""
    position = {name.strip(): i for i, name in enumerate(wanted)}
    return wanted, np.array([position[name] for name in names], dtype=np.int64)[labels]


def read_table(path: Path, target: str | None = None) -> Table:
    """Read all rows unchanged; the arguments are those of :func:`read`."""
    if not parquet.recognizes_rows(path):
        return read_files(data_folder(path, READERS), target)
    table = table_of(parquet.read_rows(path, target))
    others = [file.name for file in row_files(path)] if path.is_dir() else []
    return replace(table, notes=table.notes + files_left_out(others))


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
        aside=rows.aside,
    )


def files_of(path: Path) -> list[Path]:
    """Return the files of a dataset in the order in which their rows are counted."""
    return parquet.files_of(path) if parquet.recognizes_rows(path) else files_in(data_folder(path, READERS))


def _texts(column: pd.Series, name: str) -> list[str]:
    cells = cells_of(column)
    refuse_empty(cells.isna(), "text", name)
    return cells.str.strip().tolist()
