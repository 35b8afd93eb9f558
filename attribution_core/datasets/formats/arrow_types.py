"""Types of Arrow columns: which hold plain values, and their plain form whatever way they were encoded."""

import pyarrow as pa
import pyarrow.compute as pc


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is stored in, below extension types and dictionaries."""
    if isinstance(kind, pa.BaseExtensionType):
        return stored_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return stored_type(kind.value_type)
    return kind


def is_nested(kind: pa.DataType) -> bool:
    """Return whether a column holds lists or structures."""
    return bool(pa.types.is_nested(stored_type(kind)))


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a column holds bytes, such as encoded images."""
    stored = stored_type(kind)
    types = pa.types
    return bool(
        types.is_binary(stored)
        or types.is_large_binary(stored)
        or types.is_fixed_size_binary(stored)
        or types.is_binary_view(stored)
    )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    stored = stored_type(kind)
    return bool(pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_string_view(stored))


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without dictionaries, run lengths, extension types, views and decimals."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind):
        return plain(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_decimal(kind):
        whole = kind.scale == 0 and kind.precision <= 18  # digits that fit into int64
        return column.cast(pa.int64() if whole else pa.float64())
    return column
