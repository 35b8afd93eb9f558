"""Writer of Parquet files as they came: only dropped rows and changed labels differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.export.arrow_rows import changed_labels, changed_table, column_index
from attribution_core.export.changes import RowChanges
from attribution_core.progress import report


def write_file(source: Path, path: Path, label: str, changes: RowChanges) -> None:
    """Write the rows of one file, a row group at a time, with their types, metadata and order.

    Args:
        source: Original file; it is copied if nothing changes in it.
        path: File to write.
        label: Name of the column of labels.
        changes: Changes in this file, counted from its first row.
    """
    if not changes:
        shutil.copyfile(source, path)
        return
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow
        index = column_index(schema, label)
        # The row groups may have other dictionaries than the whole, so the labels are changed all at once.
        labels, schema = changed_labels(_column(file, schema, index), schema, index, changes)
        kept, start = changes.kept(len(labels)), 0
        compression = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "SNAPPY"
        with pq.ParquetWriter(path, schema, compression=compression) as writer:
            for number in range(file.num_row_groups):
                part = file.read_row_group(number)
                end = start + len(part)
                table = changed_table(part, index, labels.slice(start, len(part)), schema, kept[start:end].tolist())
                if len(table):
                    writer.write_table(table)
                start = end
                report(number + 1, file.num_row_groups, "export")


def _column(file: pq.ParquetFile, schema: pa.Schema, index: int) -> pa.ChunkedArray:
    """Read one column; a name with a dot could mean a part of a nested one."""
    name = schema.names[index]
    return file.read().column(index) if "." in name else file.read(columns=[name]).column(0)
