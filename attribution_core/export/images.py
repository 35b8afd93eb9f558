"""The cleaned images themselves: a Parquet file in the Hugging Face convention, or a zip of class folders."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from attribution_core.datasets import Dataset, Splits
from attribution_core.progress import track
from attribution_core.runs.names import UniqueNames

_ROWS_IN_GROUP = 500
_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
    "MPO": ".jpg",
    "PPM": ".ppm",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date: equal exports are equal files


def write_parquet(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,
) -> None:
    """Writes every split into one file: image, label, id, split and the group columns.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Goes into the file's metadata too, under ``samplescope``.
    """
    rows = rows_of(splits, table)
    schema = huggingface_schema(rows, splits.train.class_names, provenance)
    with pq.ParquetWriter(path, schema) as writer:
        for part in arrow_tables(splits, rows, schema):
            writer.write_table(part)


def write_folder(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,
) -> None:
    """Writes a zip of SPLIT/CLASS/FILE; the original files' bytes where the dataset has them, else PNG.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Stored in the zip as provenance.json.
    """
    rows = rows_of(splits, table)
    folders = UniqueNames()
    class_folders = [folders.take(name) for name in splits.train.class_names]
    names: dict[str, UniqueNames] = {}
    with zipped(path, provenance) as archive:
        entries = zip(rows["split"], rows["position"], rows["id"], rows["label"], strict=True)
        for split, position, id_, label in track(entries, len(rows), "export"):
            data, suffix = _encoded(getattr(splits, split), position)
            folder = f"{split}/{class_folders[label]}"
            name = names.setdefault(folder, UniqueNames()).take(_stem(id_), suffix)
            archive.writestr(entry(f"{folder}/{name}"), data)


@contextmanager
def zipped(path: Path, provenance: str) -> Iterator[zipfile.ZipFile]:
    """A zip to write into, with the provenance in it already as provenance.json."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry("provenance.json"), provenance)
        yield archive


def entry(name: str) -> zipfile.ZipInfo:
    """A file of an exported zip."""
    return zipfile.ZipInfo(name, _EPOCH)


def rows_of(splits: Splits, table: pd.DataFrame) -> pd.DataFrame:
    """A row for each example to write: split, its position there, id, final label, and the group columns."""
    kept = np.flatnonzero((table["action"] != "drop").to_numpy())
    chosen = {
        "train": (kept, table["label"].to_numpy()[kept]),
        "validation": (np.arange(len(splits.validation)), splits.validation.labels),
        "test": (np.arange(len(splits.test)), splits.test.labels),
    }
    parts = []
    for split, (positions, labels) in chosen.items():
        part = getattr(splits, split)
        frame = pd.DataFrame(
            {
                "label": np.asarray(labels),
                "id": pd.Series(part.ids, dtype="str").iloc[positions].to_numpy(),
                "split": split,
                "position": positions,
            }
        )
        groups = part.groups.iloc[positions].reset_index(drop=True)
        parts.append(pd.concat([frame, groups.drop(columns=[*frame.columns, "image"], errors="ignore")], axis=1))
    return pd.concat(parts, ignore_index=True)


def arrow_tables(
    splits: Splits,
    rows: pd.DataFrame,
    schema: pa.Schema,
) -> Iterator[pa.Table]:
    """The rows with their images, some hundreds at a time.

    Args:
        splits: The dataset.
        rows: From :func:`rows_of`, all or some.
        schema: The columns to write; from :func:`huggingface_schema`, all or some.
    """
    names = UniqueNames()
    entries = zip(rows["split"], rows["position"], rows["id"], strict=True)
    reporting = track(entries, len(rows), "export")
    for start in range(0, len(rows), _ROWS_IN_GROUP):
        chunk = rows.iloc[start : start + _ROWS_IN_GROUP]
        images = []
        for split, position, id_ in itertools.islice(reporting, len(chunk)):
            data, suffix = _encoded(getattr(splits, split), position)
            images.append({"bytes": data, "path": names.take(_stem(id_), suffix)})
        columns: dict[str, Any] = {name: chunk[name] for name in schema.names if name != "image"}
        yield pa.table({"image": images, **columns}, schema=schema)


def huggingface_schema(rows: pd.DataFrame, class_names: list[str], provenance: str) -> pa.Schema:
    """The Arrow schema, with the features that the ``datasets`` library reads from its metadata."""
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
    """The name that ``datasets`` gives to an Arrow type."""
    return {"double": "float64", "float": "float32"}.get(str(arrow_type), str(arrow_type))


def _encoded(split: Dataset, position: int) -> tuple[bytes, str]:
    """An image's file content and suffix: the original bytes if their format is a common one, else a PNG."""
    source = split.source(position)
    if source is not None:
        with Image.open(io.BytesIO(source)) as opened:
            suffix = _SUFFIXES.get(opened.format or "")
        if suffix is not None:
            return source, suffix
    image, _ = split[position]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _stem(id_: str) -> str:
    """A file's name from an example's id, which is often a path with a suffix."""
    name = PurePosixPath(id_.replace("\\", "/")).name
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix.lower() in {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"} else name
