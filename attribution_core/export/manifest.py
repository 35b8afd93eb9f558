"""Writer of a manifest, a table of image paths and labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attribution_core.datasets import Splits
from attribution_core.datasets.formats.delimited import DELIMITERS
from attribution_core.datasets.formats.manifest import ImageManifest, read_manifest
from attribution_core.datasets.targets import parse_labels
from attribution_core.export.examples import CleanedExamples
from attribution_core.progress import report


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the rows of the original manifest again, in its columns and format, with the decisions applied.

    Images stay where they are: a path is relative if its image is below the folder of the new manifest, else absolute.
    A column ``split`` is added if there was none, so that held-out examples stay held out.
    """
    manifest = read_manifest(Path(examples.splits.location))
    columns = [*manifest.columns, *([] if manifest.split_column else ["split"])]
    rows = list(_rows(manifest, examples, path.resolve().parent))
    suffix = manifest.file.suffix.lower()
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            present = ({name: cell for name, cell in row.items() if cell is not None} for row in rows)
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in present)
        else:
            writer = csv.DictWriter(file, columns, delimiter=DELIMITERS[suffix])
            writer.writeheader()
            writer.writerows(rows)
    report(len(rows), len(rows), "export")


def _rows(manifest: ImageManifest, examples: CleanedExamples, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows to write; only the path, a changed label and the split differ from the original cells."""
    names, in_data = examples.splits.train.class_names, _labels(manifest, examples.splits)
    places = {id_: row for row, id_ in enumerate(manifest.ids)}
    rows = examples.rows
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


def _labels(manifest: ImageManifest, splits: Splits) -> list[str] | list[float]:
    """Return the class name, or the value, of each row of the manifest."""
    if splits.train.values is None:
        return [manifest.label(row) for row in range(len(manifest.rows))]
    return parse_labels(manifest.labels, manifest.label_column, "regression")[0].tolist()


def _like(cell: Any, label: str | float) -> Any:
    """Return a class name or a value as a cell of the same kind.

    JSON has numbers beside texts, and whole numbers stay whole.
    """
    if isinstance(label, str):
        return int(label) if isinstance(cell, int | float) and label.isdecimal() else label
    number = int(label) if label.is_integer() and "." not in str(cell) else label
    return str(number) if isinstance(cell, str) else number
