"""The cleaned images in the form that they came in: a manifest, an .npz, IDX files or a Hugging Face folder.

Class folders and Parquet are in :mod:`attribution_core.export.images`. Every writer takes the same arguments.
"""

from __future__ import annotations

import csv
import hashlib
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from attribution_core.datasets import Splits
from attribution_core.datasets.formats.manifest import ImageManifest, read_manifest
from attribution_core.datasets.formats.npz import Archive, declared_names, label_texts, labels_by_split, read_archive
from attribution_core.datasets.formats.row_files import DELIMITERS
from attribution_core.datasets.listing import UNNAMED
from attribution_core.datasets.targets import parse_labels
from attribution_core.export.images import arrow_tables, entry, huggingface_schema, rows_of, zipped
from attribution_core.progress import report

_SPLITS = ("train", "validation", "test")
_IDX_PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}


def write_manifest(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,  # noqa: ARG001 -- every writer takes the same
) -> None:
    """Writes the rows of the manifest again, in its columns and its form, with the decisions applied.

    Images stay where they are: a path is relative where its image lies below the new manifest's folder, else absolute.
    A column ``split`` is added where there was none, so that what was set aside stays set aside.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Not used: it lies beside the file.
    """
    manifest = read_manifest(Path(splits.location))
    columns = [*manifest.columns, *([] if manifest.split_column else ["split"])]
    rows = list(_manifest_rows(manifest, splits, rows_of(splits, table), path.resolve().parent))
    suffix = manifest.file.suffix.lower()
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            there = ({name: cell for name, cell in row.items() if cell is not None} for row in rows)
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in there)
        else:
            writer = csv.DictWriter(file, columns, delimiter=DELIMITERS[suffix])
            writer.writeheader()
            writer.writerows(rows)
    report(len(rows), len(rows), "export")


def write_npz(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,  # noqa: ARG001 -- every writer takes the same
) -> None:
    """Writes the arrays again under their names, with the pixels and the types that they had.

    What was set aside goes into arrays of its own, called in the manner of the others; arrays without splits get an
    array ``split`` beside them.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Not used: it lies beside the file.
    """
    archive = read_archive(Path(splits.location))
    rows = rows_of(splits, table)
    values = None if splits.train.values is None else labels_by_split(archive, "regression")[0]
    parts = {split: _npz_part(archive, splits, rows[rows["split"] == split], values) for split in _SPLITS}
    arrays: dict[str, np.ndarray] = {}
    if UNNAMED in archive.keys:
        keys = archive.keys[UNNAMED]
        for key, position in ((keys.images, 0), (keys.labels, 1)):
            arrays[key] = np.concatenate([parts[split][position] for split in _SPLITS])
        arrays["split"] = np.repeat(_SPLITS, [len(parts[split][1]) for split in _SPLITS])
    else:
        for split in _SPLITS:
            keys = archive.key_for(split)
            arrays[keys.images], arrays[keys.labels] = parts[split]
    if "class_names" in archive.arrays and splits.train.values is None:
        arrays["class_names"] = archive.arrays["class_names"]
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes them for its own option
    report(len(rows), len(rows), "export")


def write_idx(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,
) -> None:
    """Writes a zip of IDX files: ``train-``, ``t10k-`` and, for what was set aside, ``validation-``.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Stored in the zip as provenance.json.
    """
    rows = rows_of(splits, table)
    numbers = np.array([int(name) for name in splits.train.class_names])
    with zipped(path, provenance) as archive:
        for done, (split, prefix) in enumerate(_IDX_PREFIXES.items(), start=1):
            part, chosen = getattr(splits, split), rows[rows["split"] == split]
            images = np.stack([np.asarray(part[position][0]) for position in chosen["position"]])
            labels = numbers[chosen["label"].to_numpy()]
            archive.writestr(entry(f"{prefix}-images-idx3-ubyte"), _idx(images), zipfile.ZIP_DEFLATED)
            archive.writestr(entry(f"{prefix}-labels-idx1-ubyte"), _idx(labels), zipfile.ZIP_DEFLATED)
            report(done, len(_IDX_PREFIXES), "export")


def write_saved(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,
) -> None:
    """Writes a zip of the folder that ``DatasetDict.save_to_disk`` makes; unpacked, ``load_from_disk`` opens it.

    Its columns are ``image``, ``label``, ``id`` and the group columns.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Stored in the zip as provenance.json.
    """
    rows = rows_of(splits, table)
    schema = huggingface_schema(rows.drop(columns="split"), splits.train.class_names, provenance)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    name = "data-00000-of-00001.arrow"
    with zipped(path, provenance) as archive:
        archive.writestr(entry("dataset_dict.json"), json.dumps({"splits": list(_SPLITS)}))
        for split in _SPLITS:
            with (
                archive.open(entry(f"{split}/{name}"), "w", force_zip64=True) as file,
                pa.ipc.new_stream(file, schema) as writer,
            ):
                for part in arrow_tables(splits, rows[rows["split"] == split], schema):
                    writer.write_table(part)
            state: dict[str, Any] = {
                "_data_files": [{"filename": name}],
                # The library keeps results under this: no two exports may share it.
                "_fingerprint": hashlib.sha256(f"{provenance} {split}".encode()).hexdigest()[:16],
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": split,
            }
            archive.writestr(entry(f"{split}/state.json"), json.dumps(state))
            archive.writestr(entry(f"{split}/dataset_info.json"), json.dumps({"features": features}))


# -- their parts -----------------------------------------------------------------------------------------------------


def _manifest_rows(
    manifest: ImageManifest, splits: Splits, rows: pd.DataFrame, folder: Path
) -> Iterator[dict[str, Any]]:
    """The rows to write, with all cells as they were but for the path, a label that was changed, and the split."""
    names, in_data = splits.train.class_names, _manifest_labels(manifest, splits)
    places = {id_: row for row, id_ in enumerate(manifest.ids)}
    for id_, label, split in zip(rows["id"], rows["label"], rows["split"], strict=True):
        place = places[id_]
        row = dict(manifest.rows[place])
        image = manifest.image(place).absolute()
        row[manifest.path_column] = (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()
        wanted = names[label] if names else label
        if wanted != in_data[place]:
            row[manifest.label_column] = _like(row[manifest.label_column], wanted)
        if manifest.split_column is None:
            row["split"] = split
        yield row


def _manifest_labels(manifest: ImageManifest, splits: Splits) -> list[str] | list[float]:
    """The class name, or the value, of each row of the manifest."""
    if splits.train.values is None:
        return [manifest.label(row) for row in range(len(manifest.rows))]
    return parse_labels(manifest.labels, manifest.label_column, "regression")[0].tolist()


def _npz_part(
    archive: Archive, splits: Splits, rows: pd.DataFrame, values: dict[str, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split as the archive has them, but for the labels that were changed.

    Values that came as class names' numbers become numbers of their own.
    """
    sources, positions = zip(*(id_.rsplit("-", 1) for id_ in rows["id"]), strict=True)
    keys = archive.keys[sources[0]]  # those of one split all come from the same arrays
    chosen = np.array(positions, dtype=np.int64)
    images, labels = archive.arrays[keys.images][chosen], archive.arrays[keys.labels][chosen]
    wanted = rows["label"].to_numpy()
    if values is None:
        before = label_texts(archive, keys.labels)[chosen]
        wanted = np.array(splits.train.class_names, dtype=object)[wanted]
    else:
        before = values[sources[0]][chosen]
        labels = before if "class_names" in archive.arrays else labels
    changed = np.flatnonzero(wanted != before)
    if len(changed):
        new = np.array([_npz_label(archive, labels.dtype.kind, label) for label in wanted[changed]])
        labels = _with_labels(labels, changed, new)
    return images, labels


def _npz_label(archive: Archive, kind: str, label: str | float) -> int | float | str:
    """A class name or a value as an array of this kind holds it."""
    if kind == "U":
        return str(label)
    if not isinstance(label, str):
        return label
    names = declared_names(archive)
    return int(label) if names is None else names.index(label)


def _with_labels(labels: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The array with other labels in some rows, of its own type unless that is too narrow for them."""
    with np.errstate(invalid="ignore"):
        held = new.astype(labels.dtype)
    same = np.isclose(held, new, rtol=1e-6, atol=0) if labels.dtype.kind == "f" else held == new
    if not same.all():  # a name too long, a number too large, or a fraction among whole numbers
        labels = labels.astype(np.result_type(labels, new))
    labels[rows] = new.reshape(-1, *labels.shape[1:])
    return labels


def _like(cell: Any, label: str | float) -> Any:
    """A class name or a value as a cell of the same kind: JSON has numbers beside texts, and whole ones stay whole."""
    if isinstance(label, str):
        return int(label) if isinstance(cell, int | float) and label.isdecimal() else label
    number = int(label) if label.is_integer() and "." not in str(cell) else label
    return str(number) if isinstance(cell, str) else number


def _idx(array: np.ndarray) -> bytes:
    """One IDX file of unsigned bytes."""
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()
