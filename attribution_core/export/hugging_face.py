"""Writer of a saved Hugging Face dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from attribution_core.export.examples import SPLITS, CleanedExamples
from attribution_core.export.image_tables import arrow_tables, huggingface_schema
from attribution_core.export.zips import zip_entry, zip_with_provenance

_DATA = "data-00000-of-00001.arrow"


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of the folder that ``DatasetDict.save_to_disk`` makes; once unpacked, ``load_from_disk`` opens it.

    The columns are ``image``, ``label``, ``id`` and the group columns.
    """
    splits, provenance = examples.splits, examples.provenance
    schema = huggingface_schema(examples.rows.drop(columns="split"), splits.train.class_names, provenance)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    with zip_with_provenance(path, provenance) as archive:
        archive.writestr(zip_entry("dataset_dict.json"), json.dumps({"splits": list(SPLITS)}))
        for split in SPLITS:
            with (
                archive.open(zip_entry(f"{split}/{_DATA}"), "w", force_zip64=True) as file,
                pa.ipc.new_stream(file, schema) as writer,
            ):
                for part in arrow_tables(splits, examples.of_split(split), schema):
                    writer.write_table(part)
            state: dict[str, Any] = {
                "_data_files": [{"filename": _DATA}],
                # The library caches results under this fingerprint, so no two exports may share it.
                "_fingerprint": hashlib.sha256(f"{provenance} {split}".encode()).hexdigest()[:16],
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": split,
            }
            archive.writestr(zip_entry(f"{split}/state.json"), json.dumps(state))
            archive.writestr(zip_entry(f"{split}/dataset_info.json"), json.dumps({"features": features}))
