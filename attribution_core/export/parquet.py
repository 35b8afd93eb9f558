"""Writer of a Parquet file in the Hugging Face image convention."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from attribution_core.export.examples import CleanedExamples
from attribution_core.export.image_tables import arrow_tables, huggingface_schema


def write(examples: CleanedExamples, path: Path) -> None:
    """Write all splits into one file: columns image, label, id, split and the group columns.

    The metadata of the file holds the provenance, too, under ``samplescope``.
    """
    splits, rows = examples.splits, examples.rows
    schema = huggingface_schema(rows, splits.train.class_names, examples.provenance.text())
    with pq.ParquetWriter(path, schema) as writer:
        for part in arrow_tables(splits, rows, schema):
            writer.write_table(part)
