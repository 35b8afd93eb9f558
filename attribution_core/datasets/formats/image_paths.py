"""The column of a list that names images, and the files that its cells mean.

Lists are moved, and made elsewhere: a path may be relative to another folder, or lack its suffix. One rule is chosen
for the whole list: the cells as they are if any is a file; otherwise the one that drops the fewest leading folders. A
cell that two files fit is refused, since the wrong image would go unnoticed.
"""

import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from attribution_core.datasets.file_kinds import SUFFIXES, is_junk
from attribution_core.datasets.formats.delimited import ANY_DELIMITER, read_first_lines
from attribution_core.datasets.formats.row_files import JSON_LINES, read_column_names
from attribution_core.errors import InputError

# Usual names of the column, most telling first.
PATHS = ("path", "file", "file_name", "filename", "image", "img")
_MORE = (
    *("image_path", "img_path", "imagepath", "filepath", "file_path", "image_name", "img_name", "imagename"),
    *("image_file", "image_filename", "image_id", "img_id", "imageid", "id_code", "photo", "picture"),
)
_NOT_FEATURES = ("label", "labels", "class", "target", "y", "split", "id", "original_label")
_SAMPLE = 50  # rows
_MOST_FILES = 200_000  # files that are looked through for images named without their folder


class _AmbiguousNameError(InputError):
    """Report a cell that two images fit."""


@dataclass(frozen=True, eq=False)
class ImageFinder:
    """Finds the images that the cells of a list mean.

    Attributes:
        folder: Folder of the list.
        cells: Paths or names of images.
        column: Name of the column, for messages.
    """

    folder: Path
    cells: Sequence[str]
    column: str

    @cached_property
    def paths(self) -> list[Path]:
        """The path of each image; where none is found, the path that the cell says.

        Raises:
            InputError: No image is found, or two fit a cell.
        """
        as_written = [self.folder / cell for cell in self.cells]
        if self._are_paths:
            return as_written
        found, _ = self._found
        return [found.get(cell, path) for cell, path in zip(self.cells, as_written, strict=True)]

    @cached_property
    def note(self) -> str:
        """A sentence that says how images were found; empty if the cells are their paths."""
        if self._are_paths:
            return ""
        found, how = self._found
        first = next(cell for cell in self.cells if cell in found)
        there = found[first].relative_to(self.folder).as_posix()
        return f"The column {self.column} names images {how}: {first} is {there}."

    @cached_property
    def _are_paths(self) -> bool:
        """Whether the cells are the images' paths as they stand, or there are none."""
        return not self.cells or any(_is_there(self.folder / cell) for cell in self.cells)

    @cached_property
    def _found(self) -> tuple[dict[str, Path], str]:
        """Return the image of each cell by the first rule that finds any, and how."""
        deepest = max(len(PurePosixPath(_slashes(cell)).parts) for cell in self.cells)
        for dropped in range(deepest):
            for files, how in zip(self._files, ("by their names", "without their suffix"), strict=True):
                found = self._by_tail(dropped, files)
                if found:
                    return found, how
        example = self.folder / self.cells[0]
        raise InputError(
            f"The column {self.column} must name images, but none of its {len(self.cells):,} was found: neither "
            f"{example}, nor with another suffix, nor in a folder below {self.folder}. Put the images there, or write "
            "their paths into a column called path."
        )

    def _by_tail(self, dropped: int, files: dict[str, list[PurePosixPath]]) -> dict[str, Path]:
        """Return the file of each cell that ends like the cell without its first parts."""
        found = {}
        for cell in self.cells:
            parts = [part for part in PurePosixPath(_slashes(cell)).parts if part not in ("/", "..")][dropped:]
            if not parts:
                continue
            tail = PurePosixPath(*parts)
            fitting = [file for file in files.get(tail.name, []) if file.parts[-len(parts) : -1] == tail.parts[:-1]]
            if len(fitting) > 1:
                raise _AmbiguousNameError(
                    f"The column {self.column} names {cell}, but {fitting[0]} and {fitting[1]} both fit: give paths "
                    f"relative to {self.folder}."
                )
            if fitting:
                found[cell] = self.folder / fitting[0]
        return found

    @cached_property
    def _files(self) -> tuple[dict[str, list[PurePosixPath]], dict[str, list[PurePosixPath]]]:
        """The images below the folder by their names, and by their names without suffix."""
        by_name: dict[str, list[PurePosixPath]] = {}
        by_stem: dict[str, list[PurePosixPath]] = {}
        for file in islice(_images_below(self.folder), _MOST_FILES):
            by_name.setdefault(file.name, []).append(file)
            by_stem.setdefault(file.stem, []).append(file)
        return by_name, by_stem


def image_column(path: Path) -> str | None:
    """Return the column of a list that names images; None if the file is no such list.

    A column with a usual name (path, image_id, ...) names images if one of its first cells is a file, if its cells end
    in an image's suffix, or if there is nothing else to learn from. Any other column must have the suffixes and a file.

    Args:
        path: A CSV, TSV or JSON Lines file, of which only the beginning is read.
    """
    columns = read_column_names(path)
    by_key = {_key(column): column for column in reversed(columns)}
    usual = [by_key[name] for name in (*PATHS, *_MORE) if name in by_key]
    rows = _first_rows(path, columns)
    cells = {column: [str(row[column]) for row in rows if row.get(column) not in (None, "")] for column in columns}
    others = [column for column in columns if column not in usual and any(map(_has_suffix, cells[column][:1]))]
    for column in (*usual, *others):
        if _finds_any(path.parent, cells[column]):
            return column
    features = [column for column in columns if column not in usual and _key(column) not in _NOT_FEATURES]
    looks = [column for column in usual if cells[column] and all(map(_has_suffix, cells[column]))]
    alone = [*usual, *others] if not [column for column in features if column not in others] else usual[:0]
    plain = [column for column in usual if _key(column) in PATHS and (not rows or _are_names(cells[column], rows))]
    return next(iter((*looks, *alone, *plain)), None)


def _are_names(cells: list[str], rows: list[dict[str, Any]]) -> bool:
    """Return whether each row has its own name, without a suffix, which could be that of an image."""
    return 1 < len(rows) == len(set(cells)) and not any(Path(cell).suffix or " " in cell for cell in cells)


def _finds_any(folder: Path, cells: list[str]) -> bool:
    try:
        return bool(ImageFinder(folder, cells, "").paths)
    except _AmbiguousNameError:
        return True
    except InputError:
        return False


def _first_rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """Return some rows at the beginning of a file; none if it cannot be read, which the format's reader reports."""
    try:
        found, is_cut = read_first_lines(path)
    except OSError:
        return []
    lines = [line for line in found if line.strip()]
    if is_cut:
        lines = lines[:-1]
    rows: list[dict[str, Any]] = []
    try:
        if path.suffix.lower() == JSON_LINES:
            rows = [row for line in lines[:_SAMPLE] if isinstance(row := json.loads(line), dict)]
        else:
            dialects = (csv.reader(lines[:_SAMPLE], delimiter=each) for each in ANY_DELIMITER)
            tables = (list(reader) for reader in dialects)
            cells = next((table for table in tables if columns in table), [columns])
            rows = [dict(zip(columns, row, strict=False)) for row in cells[cells.index(columns) + 1 :]]
    except (ValueError, RecursionError, csv.Error):
        return []
    return rows


def _images_below(folder: Path) -> Iterator[PurePosixPath]:
    """Yield the paths within a folder of files with an image's suffix."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(files):
            if _has_suffix(name) and not is_junk(name):
                yield PurePosixPath(Path(root, name).relative_to(folder).as_posix())


def _key(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_")


def _slashes(cell: str) -> str:
    return cell.strip().replace("\\", "/")


def _has_suffix(cell: str) -> bool:
    return Path(_slashes(cell)).suffix.lower() in SUFFIXES


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
