"""Arrow tables in the Hugging Face image convention.

A table has an image column of struct {bytes, path}, a label column of strings, integers (named by the "huggingface"
schema metadata) or other numbers (values), and optionally ``id``. Every other scalar column becomes a group column.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from attribution_core.datasets.images import EncodedImage
from attribution_core.datasets.listing import Examples, Listing, normalize_name, numbered_ids
from attribution_core.datasets.targets import Task, original_values, parse_labels, parse_numeric_labels
from attribution_core.errors import InputError


def list_table(table: pa.Table, splits: np.ndarray, task: Task = "auto") -> Listing:
    """List the rows of a table.

    Args:
        table: Table of ``n`` rows.
        splits: Split of each row, ``[n]``; all ``UNNAMED`` if the data have no splits.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split.

    Raises:
        InputError: A column is missing, or a label or an id cannot be understood.
    """
    features = _hugging_face_features(table.schema)
    image = _column(table, features, "image", "Image")
    label = _column(table, features, "label", "ClassLabel")
    data, paths = _image_bytes(table[image], image)
    labels, class_names, notes = _labels(table[label], label, _class_label_names(features, label), task)
    others = [name for name in table.column_names if name not in (image, label, "split", "id")]
    groups = _groups(table.select(others), features)
    if not class_names and "original_label" in groups:
        groups["original_label"] = original_values(groups["original_label"])
    whole = Examples(_ids(table, splits, paths), [EncodedImage(value or b"") for value in data], labels, groups)
    return Listing(whole.by_split(splits), class_names, notes=notes, target=label)


def _hugging_face_features(schema: pa.Schema) -> dict[str, Any]:
    """Return each column's feature as the ``datasets`` library writes it; empty without that metadata."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        return dict(json.loads(text)["info"]["features"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'The "huggingface" schema metadata must be JSON with info.features, but it is not ({error!r}): write the '
            "file again without it."
        ) from error


def _column(table: pa.Table, features: dict[str, Any], usual: str, kind: str) -> str:
    """Return the column with the usual name, or the only one that the metadata gives this kind."""
    if usual in table.column_names:
        return usual
    of_kind = [name for name in table.column_names if _kind(features, name) == kind]
    if len(of_kind) == 1:
        return of_kind[0]
    raise InputError(
        f"The data need a column called {usual}, but the columns are {', '.join(table.column_names)}: rename one of "
        "them."
    )


def _kind(features: dict[str, Any], column: str) -> str | None:
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None


def _class_label_names(features: dict[str, Any], column: str) -> list[str] | None:
    if _kind(features, column) != "ClassLabel" or "names" not in features[column]:
        return None
    return [normalize_name(name) for name in features[column]["names"]]


def _image_bytes(column: pa.ChunkedArray, name: str) -> tuple[list[bytes | None], list[str | None]]:
    """Return the encoded images, and the names of their original files."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.to_pylist(), [None] * len(column)
    if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
        raise InputError(f"The column {name} must be a struct {{bytes, path}}, but it is {column.type}: convert it.")
    data = pc.struct_field(column, "bytes").to_pylist()
    has_path = column.type.get_field_index("path") >= 0
    return data, pc.struct_field(column, "path").to_pylist() if has_path else [None] * len(column)


def _labels(
    column: pa.ChunkedArray, name: str, names: list[str] | None, task: Task
) -> tuple[np.ndarray, list[str], list[str]]:
    """Parse a column of labels; ``names`` are those of the classes. Returns what :func:`parse_labels` does."""
    cells = _without_nulls(_decoded(column), name)
    is_text = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    if not (is_text or pa.types.is_integer(cells.type) or (pa.types.is_floating(cells.type) and names is None)):
        kinds = "numbers" if names is None else "integers"
        raise InputError(f"The column {name} must hold {kinds} or strings, but it holds {cells.type}: convert it.")
    found = cells.to_pandas()
    return parse_labels(found, name, task) if is_text else parse_numeric_labels(found, name, names, task)


def _ids(table: pa.Table, splits: np.ndarray, paths: list[str | None]) -> list[str]:
    """Return the ``id`` column, else the images' file names if they are unique, else split and row number."""
    if "id" in table.column_names:
        return [normalize_name(str(value)) for value in _without_nulls(_decoded(table["id"]), "id").to_pylist()]
    named = [normalize_name(path) for path in paths if path]
    if len(named) == len(paths) and len(set(named)) == len(named):
        return named
    return numbered_ids(splits)


def _groups(table: pa.Table, features: dict[str, Any]) -> pd.DataFrame:
    """Return the scalar columns, with class names in columns of class labels."""
    nested = [field.name for field in table.schema if pa.types.is_nested(field.type) or is_bytes(field.type)]
    frame = table.drop_columns(nested).to_pandas(ignore_metadata=True)
    for column in frame:
        names = _class_label_names(features, str(column))
        if names is not None:
            frame[column] = frame[column].map(dict(enumerate(names)))
    return frame


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds bytes, such as encoded images."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary-encoded column (a category in pandas) as plain values."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _without_nulls(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise InputError(
            f"Every row needs a value in the column {name}, but row {row} has none: fill it in or remove the row."
        )
    return column
