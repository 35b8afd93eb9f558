"""Writer of a NumPy archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.datasets.formats.npz import Archive, declared_names, label_texts, labels_by_split, read_archive
from attribution_core.datasets.listing import UNNAMED
from attribution_core.export.examples import SPLITS, CleanedExamples
from attribution_core.progress import report


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the arrays of the original archive again under their names, with their pixels and types.

    Held-out examples go into arrays of their own, named like the others; arrays without splits get an array ``split``
    beside them.
    """
    archive = read_archive(Path(examples.splits.location))
    is_regression = examples.splits.train.values is not None
    values = labels_by_split(archive, "regression")[0] if is_regression else None
    class_names = examples.splits.train.class_names
    parts = {split: _part(archive, class_names, examples.of_split(split), values) for split in SPLITS}
    arrays: dict[str, np.ndarray] = {}
    if UNNAMED in archive.keys:
        keys = archive.keys[UNNAMED]
        for key, position in ((keys.images, 0), (keys.labels, 1)):
            arrays[key] = np.concatenate([parts[split][position] for split in SPLITS])
        arrays["split"] = np.repeat(SPLITS, [len(parts[split][1]) for split in SPLITS])
    else:
        for split in SPLITS:
            keys = archive.key_for(split)
            arrays[keys.images], arrays[keys.labels] = parts[split]
    if "class_names" in archive.arrays and not is_regression:
        arrays["class_names"] = archive.arrays["class_names"]
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes them for its own option
    report(len(examples.rows), len(examples.rows), "export")


def _part(
    archive: Archive, class_names: list[str], rows: pd.DataFrame, values: dict[str, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of one split as the archive has them, but for the changed labels.

    For a regression, labels that index ``class_names`` become the values themselves.
    """
    sources, positions = zip(*(id_.rsplit("-", 1) for id_ in rows["id"]), strict=True)
    keys = archive.keys[sources[0]]  # all examples of a split come from the same arrays
    chosen = np.array(positions, dtype=np.int64)
    images, labels = archive.arrays[keys.images][chosen], archive.arrays[keys.labels][chosen]
    wanted = rows["label"].to_numpy()
    if values is None:
        before = label_texts(archive, keys.labels)[chosen]
        wanted = np.array(class_names, dtype=object)[wanted]
    else:
        before = values[sources[0]][chosen]
        labels = before if "class_names" in archive.arrays else labels
    changed = np.flatnonzero(wanted != before)
    if len(changed):
        new = np.array([_element(archive, labels.dtype.kind, label) for label in wanted[changed]])
        labels = _with_labels(labels, changed, new)
    return images, labels


def _element(archive: Archive, kind: str, label: str | float) -> int | float | str:
    """Return a class name or a value as an element of an array whose dtype is of this kind."""
    if kind == "U":
        return str(label)
    if not isinstance(label, str):
        return label
    names = declared_names(archive)
    return int(label) if names is None else names.index(label)


def _with_labels(labels: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Replace the labels of some rows; the array keeps its type unless it is too narrow for the new labels."""
    with np.errstate(invalid="ignore"):
        held = new.astype(labels.dtype)
    same = np.isclose(held, new, rtol=1e-6, atol=0) if labels.dtype.kind == "f" else held == new
    if not same.all():  # a name too long, a number too large, or a fraction among whole numbers
        labels = labels.astype(np.result_type(labels, new))
    labels[rows] = new.reshape(-1, *labels.shape[1:])
    return labels
