"""Arrow files without the files that ``save_to_disk`` writes beside them, as caches of the Hugging Face library hold.

``imdb-train.arrow`` and ``imdb-test.arrow`` are splits by their names; one file alone is all training rows. Files are
in the stream format, as the library writes them, or in the file format, which is also called Feather.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attribution_core.datasets.formats.arrow_rows import Part
from attribution_core.datasets.formats.hugging_face import INFO, list_parts
from attribution_core.datasets.formats.layout import DataFiles, files_below, find_files, holds_images
from attribution_core.datasets.listing import UNNAMED, Listing
from attribution_core.datasets.split_names import splits_of_cells
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError

SUFFIXES = (".arrow", ".feather")
_MAGIC = b"ARROW1"


def recognizes(path: Path) -> bool:
    """Return whether this is an Arrow file, or a folder with some and without images."""
    return _suffix(path) is not None and not (path.is_dir() and holds_images(path))


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the rows of one Arrow file, or of a folder of them.

    Args:
        path: File, or folder whose files are named after splits; files of other names are then skipped.
        target: Target column; by default one called label, or the only one of class labels.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split, of images, texts or rows.

    Raises:
        InputError: A file is damaged, or the columns are not those of labeled examples.
    """
    found = _find(path)
    return list_parts(
        [_part(file, split, path, found.names) for file, split in found.splits.items()], found.notes, target, task
    )


def files_of(path: Path) -> list[Path]:
    """Return the files of a dataset in the order in which their rows are counted."""
    return list(_find(path).splits)


def read_file(file: Path) -> pa.Table:
    """Read all rows of a file.

    Raises:
        InputError: It is no Arrow file.
    """
    try:
        with pa.memory_map(str(file)) as source:
            opened = pa.ipc.open_file if is_file_format(file) else pa.ipc.open_stream
            with opened(source) as reader:
                return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as an Arrow file ({error}): write it again.") from error


def is_file_format(file: Path) -> bool:
    """Return whether a file is in the file format, which begins with a mark, rather than in the stream format."""
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def features_beside(file: Path) -> dict[str, Any] | None:
    """Return the features that ``dataset_info.json`` beside a file states, if it does."""
    try:
        features = json.loads((file.parent / INFO).read_text(encoding="utf-8")).get("features")
    except (OSError, ValueError, AttributeError):  # it may be missing, or another program's
        return None
    return features if isinstance(features, dict) else None


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in SUFFIXES if files_below(path, suffix)), None)


def _find(path: Path) -> DataFiles:
    found = find_files(path, _suffix(path) or SUFFIXES[0], skip_others=True)
    return DataFiles({path: UNNAMED}) if path.is_file() else found


def _part(file: Path, split: str, path: Path, names: dict[str, str]) -> Part:
    table, root = read_file(file), path if path.is_dir() else path.parent
    splits = np.full(len(table), split, dtype=object)
    if split == UNNAMED and "split" in table.column_names:
        cells = table["split"].to_pylist()
        meant = splits_of_cells(cells, f"the column split of {file}")
        splits = np.array([meant[cell] for cell in cells], dtype=object)
        names = {split: str(cell) for cell, split in meant.items()}
    where = file.relative_to(root).as_posix()
    part = Part(table, splits, where, file.parent, root=root, split_names=names)
    return part if part.features else replace(part, stated=features_beside(file))
