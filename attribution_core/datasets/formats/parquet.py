"""Parquet files of images, texts or rows, as the Hugging Face hub, its library and pandas write them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.datasets.formats.arrow_rows import ArrowRows, Part, join_parts
from attribution_core.datasets.formats.arrow_types import is_bytes
from attribution_core.datasets.formats.image_table import image_columns, list_images
from attribution_core.datasets.formats.layout import DataFiles, files_below, find_files, holds_images
from attribution_core.datasets.formats.manifest import PATHS
from attribution_core.datasets.formats.row_files import find_column
from attribution_core.datasets.listing import UNNAMED, Listing
from attribution_core.datasets.split_names import splits_of_cells
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError

SUFFIX = ".parquet"
_PEEKED = 20  # rows that tell whether a column holds images


def recognizes(path: Path) -> bool:
    """Return whether this is a Parquet file of images, or a folder with some, or one that cannot be read."""
    files = files_below(path, SUFFIX)
    return bool(files) and _has_images(files[0])


def recognizes_rows(path: Path) -> bool:
    """Return whether this is a Parquet file of texts or rows, or a folder with some and no images beside them."""
    files = files_below(path, SUFFIX)
    return bool(files) and not _has_images(files[0]) and not (path.is_dir() and holds_images(path))


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the images of one Parquet file, or of a folder of them in the order of their names.

    Args:
        path: File, or folder whose files or subfolders are named after splits, directly or below one folder such as
            ``data``; or whose files hold a ``split`` column.
        target: Target column; by default one called label, or the only one of class labels.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split.

    Raises:
        InputError: A file is damaged, a column is missing, or a label, split or id cannot be understood.
    """
    found = find_files(path, SUFFIX)
    listing = list_images(_read_parts(path, found), target, task)
    return replace(listing, notes=found.notes + listing.notes)


def read_rows(path: Path, target: str | None = None) -> ArrowRows:
    """Read the rows of Parquet files without images; arguments and errors are those of :func:`read`."""
    found = find_files(path, SUFFIX)
    if path.is_file():
        found = DataFiles({path: UNNAMED})  # whatever it is called, it is all that there is
    rows = join_parts(_read_parts(path, found), target)
    return replace(rows, notes=found.notes + rows.notes)


def files_of(path: Path) -> list[Path]:
    """Return the files of a dataset in the order in which their rows are counted."""
    return list(find_files(path, SUFFIX).splits)


def _has_images(file: Path) -> bool:
    try:
        data = pq.ParquetFile(file)
        schema = data.schema_arrow
        part = Part(schema.empty_table(), np.empty(0, dtype=object), file.name)
        if image_columns(part):
            return True
        peeked = [each.name for each in schema if is_bytes(each.type)]
        paths = find_column(schema.names, PATHS)
        peeked += [paths] if paths is not None and paths not in peeked else []
        first = next(data.iter_batches(_PEEKED, columns=peeked), None) if peeked else None
        return first is not None and bool(image_columns(replace(part, table=pa.Table.from_batches([first]))))
    except (pa.ArrowException, OSError, InputError):
        return not holds_images(file.parent)  # the reader says what is wrong


def _read_parts(path: Path, found: DataFiles) -> list[Part]:
    tables = {file: _read_file(file) for file in found.splits}
    columns = {file: find_column(table.column_names, ("split",)) for file, table in tables.items()}
    cells = {file: tables[file][name].to_pylist() for file, name in columns.items() if name is not None}
    named = splits_of_cells([cell for each in cells.values() for cell in each], f"the column split of {path}")
    parts = []
    for file, split in found.splits.items():
        table, column = tables[file], columns[file]
        splits, names = np.full(len(table), split, dtype=object), found.names
        if column is not None:
            renamed = ["split" if name == column else name for name in table.column_names]
            # Renaming forgets the metadata, which name the classes.
            table = table.rename_columns(renamed).replace_schema_metadata(table.schema.metadata)
            splits = np.array([named[cell] for cell in cells[file]], dtype=object)
            names = {meant: str(cell) for cell, meant in named.items()}
        where = file.relative_to(path).as_posix() if path.is_dir() else file.name
        root = path if path.is_dir() else path.parent
        parts.append(Part(table, splits, where, file.parent, root=root, split_names=names))
    return parts


def _read_file(file: Path) -> pa.Table:
    try:
        # Not read_table, which would turn a folder called "a=b" into a column.
        return pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as a Parquet file ({error}): write it again.") from error
