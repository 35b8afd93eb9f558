"""Arrow tables of images in the Hugging Face convention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from attribution_core.datasets import Splits
from attribution_core.export.examples import image_files
from attribution_core.runs.names import UniqueNames

_ROWS_IN_GROUP = 500


def arrow_tables(splits: Splits, rows: pd.DataFrame, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows with their images, up to 500 at a time.

    Args:
        splits: The dataset.
        rows: Rows of :class:`~attribution_core.export.examples.CleanedExamples`, all or some.
        schema: Columns to write, from :func:`huggingface_schema`.
    """
    names = UniqueNames()
    images: list[dict[str, Any]] = []
    for done, (stem, data, suffix) in enumerate(image_files(splits, rows), start=1):
        images.append({"bytes": data, "path": names.take(stem, suffix)})
        if len(images) == _ROWS_IN_GROUP or done == len(rows):
            group = rows.iloc[done - len(images) : done]
            columns: dict[str, Any] = {name: group[name] for name in schema.names if name != "image"}
            yield pa.table({"image": images, **columns}, schema=schema)
            images = []


def huggingface_schema(rows: pd.DataFrame, class_names: list[str], provenance: str) -> pa.Schema:
    """Return the Arrow schema of the rows, with the features that the ``datasets`` library reads from its metadata.

    Args:
        rows: Columns to write, and position, which is not written.
        class_names: Names of the classes; empty for a regression, whose label is a plain value.
        provenance: Stored in the metadata under ``samplescope``.
    """
    plain = pa.Schema.from_pandas(rows.drop(columns="position"), preserve_index=False).remove_metadata()
    image = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    for field in plain:
        features[field.name] = {"dtype": _value_type(field.type), "_type": "Value"}
    if class_names:
        features["label"] = {"names": class_names, "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), "samplescope": provenance}
    return pa.schema([image, *plain], metadata=metadata)


def _value_type(arrow_type: pa.DataType) -> str:
    """Return the name that ``datasets`` gives to an Arrow type."""
    return {"double": "float64", "float": "float32"}.get(str(arrow_type), str(arrow_type))
