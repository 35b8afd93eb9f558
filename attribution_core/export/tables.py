"""Writers of files of rows: CSV, TSV, JSON Lines or Parquet, and images in Parquet files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.datasets.formats import arrow_files, parquet, tables
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.row_files import JSON_LINES, clean_columns
from attribution_core.export import parquet_rows
from attribution_core.export.arrow_rows import changed_labels, changed_table, column_index
from attribution_core.export.changes import RowChanges, row_changes
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.text_rows import (
    delimited_labels,
    json_labels,
    read_json_texts,
    write_delimited,
    write_json_lines,
)
from attribution_core.export.zips import add_file, zip_with_provenance
from attribution_core.progress import report

_SHOWN = 3  # files that a note names

# Writes the changed rows of a file, counted over all files from ``start``, and returns their number.
FileWriter = Callable[[Path, Path, str, RowChanges, int], int]


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the original rows in their order and format, with the decisions applied; nothing else changes.

    A folder of files becomes a zip of them. Validation and test examples stay where they are in the data; the
    provenance lists those that were set aside.
    """
    _write_files(examples, tables.files_of(Path(examples.splits.location)), path)


def write_images(examples: CleanedExamples, path: Path) -> None:
    """Write the original Parquet files of images; see :func:`write`."""
    _write_files(examples, parquet.files_of(Path(examples.splits.location)), path)


def write_arrow(examples: CleanedExamples, path: Path) -> None:
    """Write the original Arrow files; see :func:`write`."""
    _write_files(examples, arrow_files.files_of(Path(examples.splits.location)), path)


def _write_files(examples: CleanedExamples, files: list[Path], path: Path) -> None:
    """Write files of rows, in the order that their rows are counted in: one file, or a zip of those in a folder."""
    changes, label = row_changes(examples), examples.listing.target
    location, start = Path(examples.splits.location), 0
    if location.is_file():
        _WRITERS[location.suffix.lower()](location, path, label, changes, start)
    else:
        part = path.with_name(f"{path.name}.part")
        try:
            with zip_with_provenance(path, examples.provenance) as archive:
                for file in files:
                    start += _WRITERS[file.suffix.lower()](file, part, label, changes, start)
                    add_file(archive, file.relative_to(location).as_posix(), part)
                _note_others(examples, files, location)
        finally:
            part.unlink(missing_ok=True)
    report(1, 1, "export")


def _note_others(examples: CleanedExamples, files: list[Path], location: Path) -> None:
    """Note the files in the folder that have no rows of the dataset."""
    others = sorted(file for file in location.rglob("*") if file.is_file() and file not in files)
    if others:
        shown = ", ".join(file.relative_to(location).as_posix() for file in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
        examples.provenance.notes.append(f"Files beside those of the rows are not in the export: {shown}{more}.")


def _write_delimited(source: Path, path: Path, label: str, changes: RowChanges, start: int) -> int:
    rows = read_delimited(source)
    count = len(rows.starts)
    inside = changes.within(start, count)
    if not inside:  # such a file may have no labels
        shutil.copyfile(source, path)
        return count
    column = clean_columns(rows.columns, source).index(label)
    labels = delimited_labels(rows, column, inside)
    write_delimited(rows, path, inside.dropped, {row: {column: text} for row, text in labels.items()})
    return count


def _write_json_lines(source: Path, path: Path, label: str, changes: RowChanges, start: int) -> int:
    lines = read_json_texts(source)
    count = len(lines.records)
    inside = changes.within(start, count)
    labels = json_labels(lines, label, inside)
    write_json_lines(lines, path, inside.dropped, {row: {label: text} for row, text in labels.items()})
    return count


def _write_parquet(source: Path, path: Path, label: str, changes: RowChanges, start: int) -> int:
    with pq.ParquetFile(source) as file:
        count = file.metadata.num_rows
    inside = changes.within(start, count)
    parquet_rows.write_file(source, path, label, inside) if inside else shutil.copyfile(source, path)
    return int(count)


def _write_arrow(source: Path, path: Path, label: str, changes: RowChanges, start: int) -> int:
    table = arrow_files.read_file(source)
    inside = changes.within(start, len(table))
    if not inside:
        shutil.copyfile(source, path)
        return len(table)
    stated = None if (table.schema.metadata or {}).get(b"huggingface") else arrow_files.features_beside(source)
    index = column_index(table.schema, label)
    labels, schema = changed_labels(table.column(index), table.schema, index, inside, stated)
    kept = inside.kept(len(table)).tolist()
    open_writer = pa.ipc.new_file if arrow_files.is_file_format(source) else pa.ipc.new_stream
    with open_writer(str(path), schema) as writer:
        writer.write_table(changed_table(table, index, labels, schema, kept))
    return len(table)


_WRITERS: dict[str, FileWriter] = {
    ".csv": _write_delimited,
    ".tsv": _write_delimited,
    JSON_LINES: _write_json_lines,
    ".parquet": _write_parquet,
    **dict.fromkeys(arrow_files.SUFFIXES, _write_arrow),
}
