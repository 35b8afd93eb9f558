"""Manifests: CSV, TSV or JSON Lines files that name an image and its label in each row.

A column called path, file_name, image, image_id or the like holds the image's path or name; the target column, or one
called label, class, target or y, its class or value. ``split`` and ``id`` hold the split and id, and every other column
becomes a group column.
"""

import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.datasets.formats.delimited import DELIMITERS, read_delimited
from attribution_core.datasets.formats.image_paths import PATHS, ImageFinder, image_column
from attribution_core.datasets.formats.left_out import NESTED, aside_notes, unlabeled_notes, unlabeled_rows
from attribution_core.datasets.formats.row_files import (
    JSON_LINES,
    clean_columns,
    find_column,
    read_json_lines,
)
from attribution_core.datasets.images import FileImage
from attribution_core.datasets.listing import Examples, Listing, Unreadable, normalize_name
from attribution_core.datasets.split_names import SPLITS, split_of, splits_of_cells
from attribution_core.datasets.targets import Task, are_all, image_task, missing_values, original_values, parse_labels
from attribution_core.errors import InputError

LABELS = ("label", "class", "target", "y")
SUFFIXES = (*DELIMITERS, JSON_LINES)
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"0|[1-9]\d{0,17}")
_CODE = re.compile(r"\s*-?0\d")  # 007 is the name of a class, not a number


@dataclass(frozen=True, eq=False)
class ImageManifest:
    """A manifest of images, as it was written.

    Attributes:
        file: Path of the manifest; image paths are relative to its folder.
        columns: Names of the columns, in order.
        rows: Cells of each row by column, unchanged: texts in CSV and TSV, any JSON value in JSON Lines.
        lines: Line of the file on which each row begins or ends, for messages.
        path_column: Column of the images' paths.
        label_column: Column of the classes or values.
    """

    file: Path
    columns: list[str]
    rows: list[dict[str, Any]]
    lines: list[int]
    path_column: str
    label_column: str

    @property
    def id_column(self) -> str:
        """Column of the ids: ``id`` if there is one, otherwise the paths."""
        return find_column(self.columns, ("id",)) or self.path_column

    @property
    def split_column(self) -> str | None:
        """Column of the splits, if there is one."""
        return find_column(self.columns, ("split",))

    @property
    def ids(self) -> list[str]:
        """Id of each row."""
        return [normalize_name(str(row[self.id_column])) for row in self.rows]

    @property
    def labels(self) -> pd.Series:
        """Labels by id ``[n]``: int64 if all are whole numbers, float64 if all are numbers, otherwise texts."""
        texts = pd.Series([self.label(row) for row in range(len(self.rows))], index=self.ids, dtype="object")
        if texts.str.fullmatch(_NUMBER).all():
            return texts.astype("int64")
        numbers = pd.to_numeric(texts, errors="coerce").notna() | (texts.str.lower() == "nan")
        return texts.astype("float64") if numbers.all() and not texts.str.match(_CODE).any() else texts

    def label_cell(self, row: int) -> str | None:
        """Return the label of a row as :meth:`label` does; None if it has none."""
        cell = self.rows[row][self.label_column]
        is_empty = cell is None or (isinstance(cell, float) and math.isnan(cell)) or not str(cell).strip()
        return None if is_empty else self.label(row)

    def label(self, row: int) -> str:
        """Return the class name of a row, or its value as a text."""
        cell = self.rows[row][self.label_column]
        is_whole = isinstance(cell, float) and cell.is_integer()  # JSON's 1.0 is the class 1
        return normalize_name(str(int(cell) if is_whole else cell).strip())

    @cached_property
    def finder(self) -> ImageFinder:
        """Finds the rows' images."""
        return ImageFinder(self.file.parent, [str(row[self.path_column]) for row in self.rows], self.path_column)

    def image(self, row: int) -> Path:
        """Return the path of a row's image."""
        return self.finder.paths[row]


def recognizes(path: Path) -> bool:
    """Return whether this is a file of rows with a column of image paths."""
    return path.is_file() and path.suffix.lower() in SUFFIXES and image_column(path) is not None


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the images that a manifest names; missing images are skipped and listed.

    Args:
        path: Path of the manifest. The images may be anywhere, inside its folder or outside.
        target: Column of the classes or values; by default the first of ``LABELS`` that exists.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The images by split; each id is the text of the column ``id``, or else the path as the manifest gives it.

    Raises:
        InputError: The file cannot be understood, a column is missing, a label is neither a text nor a number,
            a split is unknown, or two rows name the same image.
    """
    manifest, kept, notes = _labeled(read_manifest(path, target), task)
    _check_paths(manifest)
    labels, class_names, found = _labels(manifest, task)
    notes += found
    splits, groups = _splits(manifest), _groups(manifest)
    if not class_names and "original_label" in groups:
        groups["original_label"] = original_values(groups["original_label"])
    paths = [manifest.image(row) for row in range(len(manifest.rows))]
    refusals = [_refusal(image_path) for image_path in paths]
    whole = Examples(manifest.ids, [FileImage(image_path) for image_path in paths], labels, groups, kept)
    there = np.array([refusal is None for refusal in refusals])
    parts = {str(name): whole.take(np.flatnonzero((splits == name) & there)) for name in np.unique(splits)}
    lost = [Unreadable(id_, why) for id_, why in zip(whole.ids, refusals, strict=True) if why is not None]
    if manifest.finder.note:
        notes = [manifest.finder.note, *notes]
    what = f"images listed in the column {manifest.path_column}, with the target column {manifest.label_column}"
    names = _split_names(manifest)
    return Listing(parts, class_names, lost, notes, target=manifest.label_column, what=what, split_names=names)


def read_manifest(path: Path, target: str | None = None) -> ImageManifest:
    """Read the rows of a manifest without checking what they say.

    Args:
        path: Path of the manifest.
        target: As in :func:`read`.

    Raises:
        InputError: The file is not CSV or JSON in UTF-8 or UTF-16, has no rows, or lacks a column.
    """
    try:
        read_rows = read_json_lines if path.suffix.lower() == JSON_LINES else _read_delimited
        columns, rows, lines = read_rows(path)
    except OSError as error:
        raise InputError(f"The manifest {path} cannot be read ({error}): correct it.") from error
    paths = image_column(path)
    if paths is None:
        raise InputError(
            f"{path} needs a column called {', '.join(PATHS[:-1])} or {PATHS[-1]}, but its columns are "
            f"{', '.join(columns)}: rename the one that holds the path."
        )
    labels = _label_column(path, [column for column in columns if column != paths], target)
    if not rows:
        raise InputError(f"{path} needs one row for each image, but it has none: add the images.")
    # The column as the rows have it: the beginning of the file has it stripped.
    return ImageManifest(path, columns, rows, lines, find_column(columns, (paths.strip().lower(),)) or paths, labels)


def _label_column(path: Path, columns: list[str], target: str | None) -> str:
    found = find_column(columns, LABELS) if target is None else next((c for c in columns if c.strip() == target), None)
    if found is not None:
        return found
    if target is not None:
        raise InputError(
            f"There is no column {target} beside that of the images; the columns of {path} are {', '.join(columns)}: "
            "choose one of them."
        )
    raise InputError(
        f"{path} needs a column called {', '.join(LABELS[:-1])} or {LABELS[-1]}, but its columns are "
        f"{', '.join(columns)}: rename the one that holds the label, or choose it with --target."
    )


def _read_delimited(path: Path) -> tuple[list[str], list[dict[str, Any]], list[int]]:
    found = read_delimited(path)
    clean_columns(found.columns, path)
    return found.columns, [dict(zip(found.columns, cells, strict=True)) for cells in found.cells], found.lines


# -- columns ---------------------------------------------------------------------------------------------------------


def _labeled(manifest: ImageManifest, task: Task) -> tuple[ImageManifest, np.ndarray, list[str]]:
    """Return the rows that have a label, which rows they are, and notes on the others and on columns left aside."""
    cells = pd.Series([manifest.label_cell(row) for row in range(len(manifest.rows))], dtype="object")
    there = cells.dropna()
    hidden = np.zeros(len(cells), dtype=bool)
    if are_all(there, _INTEGER).all():
        hidden[there.index[there == "-1"]] = True
    splits = _splits(manifest)
    unlabeled = unlabeled_rows(cells.isna().to_numpy(), hidden, splits)
    unlabeled[there.index[missing_values(there, task)]] = True
    notes = unlabeled_notes(unlabeled, splits, manifest.label_column, lambda row: f"line {manifest.lines[row]}")
    kept = np.flatnonzero(~unlabeled)
    rows = [manifest.rows[row] for row in kept]
    nested = [name for name in manifest.columns if any(isinstance(row[name], dict | list) for row in rows)]
    aside = [name for name in nested if name not in (manifest.path_column, manifest.label_column)]
    labeled = replace(manifest, rows=rows, lines=[manifest.lines[row] for row in kept])
    return labeled, kept, notes + aside_notes(dict.fromkeys(aside, NESTED))


def _check_paths(manifest: ImageManifest) -> None:
    seen: dict[str, int] = {}
    for row, line in enumerate(manifest.lines):
        text = manifest.rows[row][manifest.path_column]
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"Every row needs the path of an image in the column {manifest.path_column}, but line {line} of "
                f"{manifest.file} has {text!r}: fill it in or remove that row."
            )
        first = seen.setdefault(os.path.normpath(manifest.image(row)), line)
        if first != line:
            raise InputError(
                f"{manifest.file} must have one row for each image, but lines {first} and {line} both name {text}: "
                "remove one of them."
            )
    ids = pd.Series(manifest.ids)
    if not ids.is_unique:
        twice = ids[ids.duplicated()].iloc[0]
        raise InputError(f"Each row of {manifest.file} needs its own id, but two are called {twice}: rename one.")


def _labels(manifest: ImageManifest, task: Task) -> tuple[np.ndarray, list[str], list[str]]:
    """Parse the labels as :func:`parse_labels` does, with the cells as class names; numbers are sorted by size."""
    _check_labels(manifest, _is_label, "number")
    column = manifest.labels
    labels, names, notes = parse_labels(column, manifest.label_column, image_task(column, task))
    if not names:
        return labels, names, notes
    _check_labels(manifest, _is_class, "whole number")
    texts = [manifest.label(row) for row in range(len(manifest.rows))]
    names = sorted(set(texts), key=int if all(map(_NUMBER.fullmatch, texts)) else None)
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[text] for text in texts], dtype=np.int64), names, []


def _check_labels(manifest: ImageManifest, fits: Callable[[Any], bool], number: str) -> None:
    for row, line in zip(manifest.rows, manifest.lines, strict=True):
        value = row[manifest.label_column]
        if not fits(value):
            given = "nothing" if value in (None, "") else repr(value)
            raise InputError(
                f"Every row needs a text or a {number} in the column {manifest.label_column}, but line {line} of "
                f"{manifest.file} has {given}: fill it in or remove that row."
            )


def _is_label(cell: Any) -> bool:
    return isinstance(cell, str | int | float) and not isinstance(cell, bool) and bool(str(cell).strip())


def _is_class(cell: Any) -> bool:
    return _is_label(cell) and (not isinstance(cell, float) or cell.is_integer())


def _splits(manifest: ImageManifest) -> np.ndarray:
    """Return the split of each row ``[n]``; all train if the manifest has no splits."""
    column = manifest.split_column
    if column is None:
        return np.full(len(manifest.rows), "train", dtype=object)
    cells = [str(row[column]).strip() for row in manifest.rows]
    for cell, line in zip(cells, manifest.lines, strict=True):
        if split_of(cell) is None:
            raise InputError(
                f"The column {column} of {manifest.file} must hold {SPLITS}, but line {line} holds {cell!r}: rename "
                "that split or remove its rows."
            )
    meaning = splits_of_cells(cells, f"the column {column} of {manifest.file}")
    return np.array([meaning[cell] for cell in cells], dtype=object)


def _split_names(manifest: ImageManifest) -> dict[str, str]:
    """Return what the column of splits calls each split."""
    if manifest.split_column is None:
        return {}
    cells = [str(row[manifest.split_column]).strip() for row in manifest.rows]
    return {split: cell for cell, split in zip(cells, _splits(manifest), strict=True)}


def _groups(manifest: ImageManifest) -> pd.DataFrame:
    """Return the other columns, as numbers where all cells are numbers; columns of nested values are skipped."""
    taken = (manifest.path_column, manifest.label_column, manifest.split_column, manifest.id_column)
    columns = {}
    for name in manifest.columns:
        values = [row[name] for row in manifest.rows]
        if name not in taken and not any(isinstance(value, dict | list) for value in values):
            columns[name.strip()] = _typed([value if value != "" else None for value in values], name.strip())
    return pd.DataFrame(columns, index=range(len(manifest.rows)))


def _typed(values: list[Any], name: str) -> pd.Series:
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, bool) for value in values):
        return pd.Series(values)
    if name != "original_label" and not any(isinstance(v, bool) or _CODE.match(str(v)) for v in there):
        numbers = pd.to_numeric(pd.Series(values, dtype="object"), errors="coerce")
        if there and numbers.notna().sum() == len(there):
            return numbers.astype("float64") if numbers.dtype == object else numbers
    return pd.Series([None if value is None else normalize_name(str(value)) for value in values], dtype="str")


def _refusal(path: Path) -> str | None:
    """Return why no image can be read at a path: for example, opening a pipe would wait forever."""
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "it is not a regular file"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ValueError as error:  # a null byte
        return f"it is not a path ({error})"
