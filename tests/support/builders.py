"""Small datasets of images, as users have them on disk."""

import csv
import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8), form: str = "PNG") -> bytes:
    """Return an image file of random pixels; ``size`` is (height, width)."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, bands), dtype=np.uint8)
    stream = io.BytesIO()
    Image.frombytes(mode, size[::-1], pixels.tobytes()).save(stream, form)
    return stream.getvalue()


def write_folder(root: Path, counts: dict[str, int], mode: str = "RGB") -> Path:
    """Write ``counts[folder]`` different images into each folder, such as "train/cat"."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            (root / folder / f"{number}.png").write_bytes(encoded(seed, mode))
    return root


def write_parquet(
    path: Path,
    labels: list,
    *,
    names: list[str] | None = None,
    paths: list[str | None] | None = None,
    images: list[bytes | None] | None = None,
    **columns: list,
) -> Path:
    """Write a file in the Hugging Face image convention; ``names`` are the class names in its schema metadata."""
    images = images or [encoded(row) for row in range(len(labels))]
    pairs = zip(images, paths or [None] * len(labels), strict=True)
    cells = [{"bytes": data, "path": name} for data, name in pairs]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(cells, kind), "label": labels, **columns})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write one IDX file of unsigned bytes, compressed if the name ends in .gz."""
    data = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_manifest(path: Path, rows: list[dict]) -> Path:
    """Write a list of images in the format that the suffix of ``path`` names."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path
