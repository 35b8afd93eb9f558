"""Small Arrow tables with the metadata of the Hugging Face library, and the rows that a test reads from them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.datasets.formats.arrow_rows import Part
from tests.support.builders import encoded

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def named(columns: dict, images: tuple[str, ...] = (), **names: list[str] | dict[str, str]) -> pa.Table:
    """Return a table whose metadata name the classes of some columns and say which hold images."""
    table = pa.table(columns)
    features = {name: {"_type": "Value"} for name in table.column_names}
    features |= {name: {"_type": "Image"} for name in images}
    features |= {name: {"_type": "ClassLabel", "names": each} for name, each in names.items()}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def part(table: pa.Table, split: str = "train", folder: Path | None = None) -> Part:
    """Return a table as the rows of one file."""
    return Part(table, np.full(len(table), split, dtype=object), f"{split}.parquet", folder, root=folder)


def images(count: int, first: int = 0) -> pa.Array:
    """Return a column of images; each is that of a seed, counted from ``first``."""
    return pa.array([{"bytes": encoded(first + row), "path": None} for row in range(count)], IMAGE)


def write(table: pa.Table, path: Path) -> Path:
    """Write a Parquet file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
