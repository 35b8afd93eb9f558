"""Parquet files in the Hugging Face image convention, with or without a column ``split``."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.datasets.formats.image_table import list_table
from attribution_core.datasets.listing import SPLIT_FILE, SPLIT_NAMES, UNNAMED, Listing
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError


def recognizes(path: Path) -> bool:
    """Return whether this is a Parquet file, or a folder with some in it, in ``data`` or in a split's folder."""
    return bool(_files(path))


def read(path: Path, task: Task = "auto") -> Listing:
    """List the rows of one Parquet file, or of a folder of them in the order of their names.

    Args:
        path: File, or folder whose files are named after splits (``train-00000-of-00001.parquet``,
            ``test/0000.parquet``) or hold a ``split`` column.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split.

    Raises:
        InputError: A file is damaged, a column is missing, or a label, split or id cannot be understood.
    """
    return list_table(*_read_files(path), task)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    # Only these subfolders: a folder of several datasets is not one dataset.
    inside = [folder for folder in path.iterdir() if folder.name.lower() in ("data", *SPLIT_NAMES)]
    found = [file for folder in (path, *inside) for file in folder.glob("*.parquet")]
    return sorted(file for file in found if not file.name.startswith("."))


def _read_files(path: Path) -> tuple[pa.Table, np.ndarray]:
    """Read all rows, and the split of each ``[n]``."""
    files = _files(path)
    tables, splits = [], []
    for file in files:
        try:
            # Not read_table, which would turn a folder called "a=b" into a column.
            tables.append(pq.ParquetFile(file).read())
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} cannot be read as a Parquet file ({error}): write it again.") from error
        splits.append(_splits_of_rows(file, path, tables[-1]))
    unnamed = [file for file, rows in zip(files, splits, strict=True) if UNNAMED in rows]
    if unnamed and len(unnamed) < len(files):
        raise InputError(
            f"Either all files or none must name their split, but {unnamed[0]} does not and others do: begin its name "
            f"with train, validation or test, or move it out of {path}."
        )
    try:
        return pa.concat_tables(tables, promote_options="permissive"), np.concatenate(splits)
    except pa.ArrowException as error:
        raise InputError(
            f"The Parquet files in {path} must have the same columns, but they differ ({error}): give them the same "
            "columns."
        ) from error


def _splits_of_rows(file: Path, root: Path, table: pa.Table) -> np.ndarray:
    """Return the split of each row: from the ``split`` column, else the file's name, else its folder below ``root``."""
    if "split" in table.column_names:
        return np.array([_split_named(value, file) for value in table["split"].to_pylist()], dtype=object)
    names = [file.stem, *file.relative_to(root).parent.parts]
    matches = [match for name in names if (match := SPLIT_FILE.match(name.lower()))]
    split = SPLIT_NAMES[matches[0].group(1)] if matches else UNNAMED
    return np.full(table.num_rows, split, dtype=object)


def _split_named(value: Any, file: Path) -> str:
    try:
        return SPLIT_NAMES[str(value).lower()]
    except KeyError:
        raise InputError(
            f"The split column of {file} must hold {', '.join(SPLIT_NAMES)}, but it holds {value!r}: rename that split "
            "or remove its rows."
        ) from None
