"""Datasets of eight-pixel images as the Hugging Face library saves and caches them, written without that library."""

import json
from pathlib import Path

import pyarrow as pa

from tests.support.builders import encoded

NAMES = ["cat", "dog"]
FEATURES = {
    "img": {"_type": "Image"},
    "animal": {"_type": "ClassLabel", "names": NAMES},
    "source": {"_type": "Value", "dtype": "string"},
}


def arrow_table(count: int, first: int = 0) -> pa.Table:
    """Return images, of which the first is that of seed ``first``, with two classes and a column ``source``."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": encoded(first + row), "path": None} for row in range(count)], kind)
    columns = {"img": images, "animal": [0, 1] * (count // 2), "source": ["web", "book"] * (count // 2)}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


def save_dataset(folder: Path, count: int, first: int = 0, shards: int = 1) -> Path:
    """Write what the library's ``Dataset.save_to_disk`` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, size, files = arrow_table(count, first), count // shards, []
    for shard in range(shards):
        files.append({"filename": f"data-{shard:05d}-of-{shards:05d}.arrow"})
        with pa.ipc.new_stream(folder / files[-1]["filename"], whole.schema) as writer:
            writer.write_table(whole.slice(shard * size, size))
    state = {"_data_files": files, "_fingerprint": "f", "_format_columns": None, "_format_kwargs": {}}
    state |= {"_format_type": None, "_output_all_columns": False, "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder


def save_splits(folder: Path, **counts: int) -> Path:
    """Write what ``DatasetDict.save_to_disk`` writes: ``counts`` are the sizes of the splits."""
    for number, (name, count) in enumerate(counts.items()):
        save_dataset(folder / name, count, first=1000 * number)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(counts)}))
    return folder


def fill_cache(cache: Path, name: str, configuration: str = "default") -> None:
    """Write what the library keeps of a dataset that it has downloaded."""
    folder = cache / name.replace("/", "___") / configuration / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    splits = {}
    for split, count in (("train", 20), ("test", 4)):
        with pa.ipc.new_stream(folder / f"{name.split('/')[1]}-{split}.arrow", arrow_table(count).schema) as writer:
            writer.write_table(arrow_table(count))
        splits[split] = {"name": split, "num_examples": count, "num_bytes": 1, "dataset_name": name.split("/")[1]}
    about = {"features": FEATURES, "splits": splits, "config_name": configuration, "builder_name": "parquet"}
    about |= {
        "dataset_name": name.split("/")[1],
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
    }
    (folder / "dataset_info.json").write_text(json.dumps(about))
