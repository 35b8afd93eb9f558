"""Rows of Arrow tables with the decisions applied, which Parquet files and saved datasets share."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from attribution_core.datasets.formats.arrow_rows import Part, hugging_face_features
from attribution_core.datasets.formats.arrow_types import stored_type
from attribution_core.datasets.listing import normalize_name
from attribution_core.errors import InputError
from attribution_core.export.changes import RowChanges, number_text


def column_index(schema: pa.Schema, name: str) -> int:
    """Return the position of a column by its name as the readers give it, composed and without spaces around it.

    Raises:
        InputError: There is no such column.
    """
    names = [normalize_name(each).strip() for each in schema.names]
    if name not in names:
        raise InputError(f"The data need a column {name}, but have {', '.join(names)}: score them again.")
    return names.index(name)


def changed_labels(
    column: pa.ChunkedArray, schema: pa.Schema, index: int, changes: RowChanges, stated: dict[str, Any] | None = None
) -> tuple[pa.ChunkedArray, pa.Schema]:
    """Return the labels of a table with the changed ones, and the schema that fits them.

    Args:
        column: Labels ``[n]``, all of one file or split.
        schema: Schema of the table.
        index: Position of the column.
        changes: Changes in these rows, counted from the first.
        stated: Features of the columns, if another file than the table states them.

    Returns:
        All ``n`` labels, also of the rows to leave out; and the schema, which is another only if the column cannot hold
        a new value: then numbers become float64, and a new value is added to named values.

    Raises:
        InputError: A new label cannot be written in this column.
    """
    field = schema.field(index)
    features = hugging_face_features(schema, "the table") if stated is None else stated
    names = Part(schema.empty_table(), np.empty(0), "the table", stated=features).class_names(field.name)
    values = [label for label in dict.fromkeys(changes.labels.values()) if not isinstance(label, str)]
    kind = stored_type(field.type)
    if names is None and pa.types.is_integer(kind) and not all(value.is_integer() for value in values):
        column, field = column.cast(pa.float64()), field.with_type(pa.float64())
        schema, kind = schema.set(index, field), pa.float64()
    if names is not None and stated is None and (added := [v for v in values if v not in map(float, names)]):
        names = [*names, *map(str, added)]
        schema = _with_names(schema, field.name, names)
    cells: list[Any] = []
    positions: dict[str | float, int] = {}
    try:
        for label in dict.fromkeys(changes.labels.values()):
            row = changes.writing(label)
            if row is None:
                row = len(column) + len(cells)
                cells.append(_cell(label, kind, names))
            positions[label] = row
        source = list(range(len(column)))
        for row, label in changes.labels.items():
            source[row] = positions[label]
        pool = pa.chunked_array([*column.chunks, pa.array(cells, field.type)], field.type)
        if pa.types.is_dictionary(field.type):
            pool = pool.unify_dictionaries()
        return pool.take(pa.array(source, pa.int64())), schema
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"A new label cannot be written in the column {field.name}, which holds {field.type} ({error}): choose "
            "another label."
        ) from error


def changed_table(
    table: pa.Table, index: int, labels: pa.ChunkedArray, schema: pa.Schema, kept: list[bool]
) -> pa.Table:
    """Return the rows that stay, with these labels ``[n]`` in column ``index``; nothing else of the table changes."""
    columns = [labels if position == index else column for position, column in enumerate(table.columns)]
    return pa.Table.from_arrays(columns, schema=schema).filter(pa.array(kept, pa.bool_()))


def _with_names(schema: pa.Schema, column: str, names: list[str]) -> pa.Schema:
    """Return the schema with these names of a column's values in its "huggingface" metadata."""
    metadata = dict(schema.metadata)
    stated = json.loads(metadata[b"huggingface"])
    stated["info"]["features"][column]["names"] = names
    return schema.with_metadata({**metadata, b"huggingface": json.dumps(stated).encode()})


def _cell(label: str | float, kind: pa.DataType, names: list[str] | None) -> Any:
    """Return a class name of which there is no row, or a value, as a cell of this type."""
    if names is not None and pa.types.is_integer(kind):
        return names.index(label) if isinstance(label, str) else list(map(float, names)).index(label)
    if pa.types.is_boolean(kind):
        return str(label).lower() == "true"
    if pa.types.is_integer(kind):
        return int(label)
    if pa.types.is_floating(kind):
        return float(label)
    if pa.types.is_decimal(kind):
        return Decimal(str(label))
    return label if isinstance(label, str) else number_text(label, "")
