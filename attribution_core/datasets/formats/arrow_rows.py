"""Rows of several Arrow tables as one: classes by their names, plain types, and which column is what.

Parquet files and saved Hugging Face datasets are read this way. Each file says in its own metadata which names the
numbers of its class labels have, so numbers become names before the files are put together. A row whose label is empty,
or -1 as the Hugging Face hub writes it, has no label and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from attribution_core.datasets.formats.arrow_types import is_bytes, is_nested, is_text, plain
from attribution_core.datasets.formats.left_out import (
    NESTED,
    aside_notes,
    listed_with_and,
    refuse_as_target,
    unlabeled_notes,
    unlabeled_rows,
)
from attribution_core.datasets.formats.row_files import find_column
from attribution_core.datasets.listing import UNNAMED, normalize_name, numbered_ids
from attribution_core.errors import InputError

TARGETS = ("label", "labels", "target", "class", "cls", "y")
_NOT_FEATURES = ("split", "id", "original_label")
_LARGEST_EXACT = 2.0**53  # beyond it, float64 skips integers
_MOST_SHOWN = 20  # columns in a message


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one file or split, as they are stored.

    Attributes:
        table: The rows.
        splits: Split of each row, ``[n]``.
        where: Name of the file or split, for messages.
        folder: Folder that paths in the rows are relative to, if there is one.
        stated: Features of the columns that another file states; by default the table's own metadata do.
        root: Folder of the dataset, which paths in the rows do not leave.
        split_names: Name in the source of each split.
    """

    table: pa.Table
    splits: np.ndarray
    where: str
    folder: Path | None = None
    stated: dict[str, Any] | None = None
    root: Path | None = None
    split_names: dict[str, str] = field(default_factory=dict)

    @cached_property
    def features(self) -> dict[str, Any]:
        """Feature of each column as the ``datasets`` library writes it; empty without that metadata."""
        return self.stated if self.stated is not None else hugging_face_features(self.table.schema, self.where)

    def class_names(self, column: str) -> list[str] | None:
        """Names of the classes that the numbers of a column stand for."""
        feature = self.features.get(column)
        if feature_kind(self.features, column) != "ClassLabel" or not feature or not feature.get("names"):
            return None
        names = feature["names"]
        listed = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else names
        return [normalize_name(str(name)) for name in listed]


@dataclass(frozen=True, eq=False)
class ArrowRows:
    """The labeled rows of all parts, in order; every array has an entry for each of the ``n`` rows.

    Attributes:
        table: Columns of plain types, with names in place of the numbers of class labels, and the images.
        label: Name of the target column.
        splits: Split of each row.
        ids: Id of each row: that of the column ``id``, else its split and number.
        rows: Row of each among all rows of all parts, with those that were left out.
        parts: Part of each row, as a position in ``folders``.
        folders: Folder of each part.
        roots: Folder of the dataset, for each part.
        class_names: Names of the classes of each column of class labels, in the order of the training rows.
        notes: Sentences that a user should read.
        split_names: Name in the source of a split that is called otherwise there.
        aside: Columns that are left aside, with what they hold.
    """

    table: pa.Table
    label: str
    splits: np.ndarray
    ids: list[str]
    rows: np.ndarray
    parts: np.ndarray
    folders: list[Path | None]
    roots: list[Path | None]
    class_names: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)
    split_names: dict[str, str] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)


def hugging_face_features(schema: pa.Schema, where: str) -> dict[str, Any]:
    """Return each column's feature as the ``datasets`` library writes it; empty without that metadata.

    Raises:
        InputError: The metadata are not as the library writes them.
    """
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        return dict(json.loads(text)["info"]["features"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'The "huggingface" schema metadata of {where} must be JSON with info.features, but it is not ({error!r}): '
            "write the file again without it."
        ) from error


def feature_kind(features: dict[str, Any], column: str) -> str | None:
    """Return the kind of a column's feature, such as ``Image`` or ``ClassLabel``."""
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None


def join_parts(parts: list[Part], target: str | None, images: Iterable[str] = ()) -> ArrowRows:
    """Put the rows of all parts together, by the names of their classes.

    Args:
        parts: The rows by file; at least one part.
        target: Target column; by default one called label, or the only one of class labels.
        images: Columns of images, which stay although they are no plain values.

    Raises:
        InputError: A column is missing or differs between the parts, or a label cannot be understood.
    """
    for part in parts:
        _refuse_double_columns(part)
    _refuse_unnamed_splits(parts)
    images = list(images)
    aside = _left_aside(parts, images)
    columns = [name for name in _all_columns(parts) if name not in aside]
    classes = [name for name in columns if any(part.class_names(name) for part in parts)]
    label = _target_column(columns, classes, target, aside)
    if not images:
        _refuse_missing_columns(parts, [name for name in columns if name not in (label, *_NOT_FEATURES)])
    notes = aside_notes({name: why for name, why in aside.items() if name != label})
    tables = [_plain_table(part, columns, classes, label) for part in parts]
    table = _concatenate(tables, parts)
    splits = np.concatenate([part.splits for part in parts])
    unlabeled = _unlabeled(table[label], splits)
    notes += unlabeled_notes(unlabeled, splits, label, partial(_place, parts))
    kept = np.flatnonzero(~unlabeled)
    ids = _ids(table, splits)
    table = table.filter(pa.array(~unlabeled)) if len(kept) < len(table) else table
    if not images:  # the labels of images tell whole numbers apart from classes by this type
        table = table.set_column(table.column_names.index(label), label, _whole(table[label]))
    return ArrowRows(
        table=table,
        label=label,
        splits=splits[kept],
        ids=[ids[row] for row in kept],
        rows=kept,
        parts=np.repeat(np.arange(len(parts)), [len(part.table) for part in parts])[kept],
        folders=[part.folder for part in parts],
        roots=[part.root for part in parts],
        class_names={name: _class_order(parts, name) for name in classes},
        notes=notes,
        split_names={split: name for part in reversed(parts) for split, name in part.split_names.items()},
        aside=aside,
    )


# -- columns ---------------------------------------------------------------------------------------------------------


def _all_columns(parts: list[Part]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part.table.column_names))


def _refuse_double_columns(part: Part) -> None:
    names = pd.Series(part.table.column_names, dtype="str")
    if names.duplicated().any():
        raise InputError(
            f"Each column of {part.where} needs its own name, but two are called "
            f"{names[names.duplicated()].iloc[0]!r}: rename one."
        )


def _refuse_unnamed_splits(parts: list[Part]) -> None:
    unnamed = [part.where for part in parts if UNNAMED in part.splits]
    if unnamed and len(unnamed) < sum(len(part.table) > 0 for part in parts):
        raise InputError(
            f"Either all files or none must name their split, but {unnamed[0]} does not and others do: name it after "
            "train, validation or test, or give it a column called split."
        )


def _refuse_missing_columns(parts: list[Part], features: list[str]) -> None:
    for part in parts:
        missing = [name for name in features if name not in part.table.column_names]
        if missing and len(part.table):
            raise InputError(
                f"The files of a dataset must have the same columns, but {part.where} has no column {missing[0]}: give "
                "them the same columns."
            )


def _left_aside(parts: list[Part], images: list[str]) -> dict[str, str]:
    """Return the columns that are no plain values and no images, and pandas' index, with what they hold."""
    found: dict[str, str] = {}
    for part in parts:
        for index in _pandas_index(part.table.schema):
            found.setdefault(index, "the index of pandas")
        for each in part.table.schema:
            if each.name not in images and is_nested(each.type):
                found.setdefault(each.name, NESTED)
            elif each.name not in images and is_bytes(each.type):
                found.setdefault(each.name, "bytes")
    return found


def _pandas_index(schema: pa.Schema) -> list[str]:
    """Return the columns that pandas wrote for the index of a data frame."""
    try:
        stated = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns") or []
    except (ValueError, AttributeError):  # not the metadata of pandas
        stated = []
    known = {*TARGETS, *_NOT_FEATURES}
    return [name for name in stated if isinstance(name, str) and name in schema.names and name.lower() not in known]


def _target_column(columns: list[str], classes: list[str], requested: str | None, aside: dict[str, str]) -> str:
    shown = ", ".join(columns[:_MOST_SHOWN]) + (", ..." if len(columns) > _MOST_SHOWN else "")
    known = find_column(columns, TARGETS)
    wrong = requested if requested in aside else find_column(list(aside), TARGETS) if known is None else None
    if wrong is not None and requested in (None, wrong):
        raise refuse_as_target(wrong, aside[wrong], columns)
    if requested is not None and requested not in columns:
        raise InputError(f"There is no column {requested}; the columns are {shown}: choose one of them.")
    found = requested or known or (classes[0] if len(classes) == 1 else None)
    if found is not None:
        return found
    if classes:
        raise InputError(
            f"The data need one target column, but {listed_with_and(classes)} hold classes: choose one, such as "
            f"--target {classes[0]}."
        )
    raise InputError(
        f"The data need a column called label, target, class or y, but the columns are {shown}: choose the target "
        "column with --target."
    )


# -- rows ------------------------------------------------------------------------------------------------------------


def _plain_table(part: Part, columns: list[str], classes: list[str], label: str) -> pa.Table:
    """Return the columns that a part has, in plain types and with the names of classes."""
    found = {}
    for name in columns:
        if name in part.table.column_names:
            column = plain(part.table[name])
            found[name] = _by_name(part, name, column, is_target=name == label) if name in classes else column
    return pa.table(found) if found else pa.table({label: pa.nulls(len(part.table))})


def _by_name(part: Part, name: str, column: pa.ChunkedArray, is_target: bool) -> pa.ChunkedArray:
    """Return the names of the classes that a column holds; null for -1, and for numbers without a name in groups."""
    if is_text(column.type) or pa.types.is_null(column.type):
        return column
    names = part.class_names(name)
    if not pa.types.is_integer(column.type):
        if is_target:
            raise InputError(
                f"The column {name} must hold integers or strings, but in {part.where} it holds {column.type}: convert "
                "it."
            )
        return column.cast(pa.string())
    if names is None:
        if is_target and pc.any(pc.greater_equal(column, 0)).as_py():
            raise InputError(
                f"The numbers in the column {name} of {part.where} need the names of their classes, which other files "
                "of the dataset state: write the names instead of the numbers."
            )
        return pa.chunked_array([pa.nulls(len(column), pa.string())])
    numbers = column.cast(pa.int64()).to_pandas().to_numpy(dtype=np.float64)
    wrong = (numbers < -1) | (numbers >= len(names))
    if is_target and wrong.any():
        row = int(np.argmax(wrong))
        such = "that row" if wrong.sum() == 1 else f"the {wrong.sum()} such rows"
        raise InputError(
            f"Labels must be 0 to {len(names) - 1}, but row {row} has {numbers[row]:.0f}: correct or remove {such}."
        )
    there = (numbers >= 0) & ~wrong
    positions = np.where(there, numbers, 0).astype(np.int64)
    return pa.chunked_array([pa.array(names, pa.string()).take(pa.array(positions, mask=~there))])


def _class_order(parts: list[Part], column: str) -> list[str]:
    """Return all names of a column's classes: those of the training rows first."""
    trains = [part for part in parts if any(split in ("train", UNNAMED) for split in part.splits[:1])]
    ordered = [*trains, *(part for part in parts if part not in trains)]
    return list(dict.fromkeys(name for part in ordered for name in part.class_names(column) or []))


def _concatenate(tables: list[pa.Table], parts: list[Part]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        kinds: dict[str, tuple[pa.DataType, str]] = {}
        for table, part in zip(tables, parts, strict=True):
            for each in table.schema:
                first, where = kinds.setdefault(each.name, (each.type, part.where))
                if first != each.type:
                    raise InputError(
                        f"The files of a dataset must have the same columns, but {each.name} holds {first} in {where} "
                        f"and {each.type} in {part.where}: convert one of them."
                    ) from error
        raise InputError(
            f"The files of a dataset must have the same columns, but they differ ({error}): give them the same columns."
        ) from error


def _unlabeled(label: pa.ChunkedArray, splits: np.ndarray) -> np.ndarray:
    """Return which rows have no label, bool ``[n]``."""
    empty = pc.is_null(label, nan_is_null=True).to_numpy()
    if is_text(label.type):
        empty = empty | pc.fill_null(pc.equal(pc.utf8_trim_whitespace(label), ""), fill_value=True).to_numpy()
    hidden = np.zeros(len(empty), dtype=bool)
    if pa.types.is_integer(label.type):
        hidden = pc.fill_null(pc.equal(label.cast(pa.int64(), safe=False), -1), fill_value=False).to_numpy()
    return unlabeled_rows(empty, hidden, splits)


def _place(parts: list[Part], row: int) -> str:
    """Name a row among those of all parts."""
    for part in parts:
        if row < len(part.table):
            return f"row {row}" if len(parts) == 1 else f"row {row} of {part.where}"
        row -= len(part.table)
    raise IndexError(row)


def _whole(label: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers as integers: pandas writes a column of integers with an empty cell as 1.0, 2.0, ..."""
    if not pa.types.is_floating(label.type):
        return label
    values = label.to_pandas().to_numpy(dtype=np.float64)
    is_whole = bool((np.abs(values) < _LARGEST_EXACT).all() and (values == np.round(values)).all())
    return label.cast(pa.int64()) if is_whole else label


def _ids(table: pa.Table, splits: np.ndarray) -> list[str]:
    if "id" in table.column_names and not table["id"].null_count:
        return [normalize_name(str(value)) for value in table["id"].to_pylist()]
    return numbered_ids(splits)
