"""Writer of a NumPy archive."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attribution_core.datasets.formats.npz import Archive, declared_names, read_archive
from attribution_core.datasets.listing import SPLIT_NAMES, UNNAMED
from attribution_core.export.changes import RowChanges, row_changes
from attribution_core.export.examples import CleanedExamples
from attribution_core.progress import report

_NAMES = "class_names"


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the original archive with the decisions applied to the arrays of the training examples.

    These are the images, the labels and every further array with as many rows; in an archive with splits, only if its
    name has that of the split as a word, such as ``train_ids``. All other arrays are copied byte for byte.
    """
    source = Path(examples.splits.location)
    archive = read_archive(source)
    changes = row_changes(examples)
    writer = _Changed(archive, changes, _names(archive, changes), examples.provenance.notes)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        members = old.infolist()
        for done, member in enumerate(members, start=1):
            content = writer.member(member.filename.removesuffix(".npy"), old.read(member))
            new.writestr(member, content, member.compress_type)
            report(done, len(members), "export")


def _names(archive: Archive, changes: RowChanges) -> list[str] | None:
    """Return the class names, with the new values of a regression whose labels are positions among its values."""
    names = declared_names(archive)
    if names is None:
        return None
    new = {label for label in changes.labels.values() if not isinstance(label, str)}
    return [*names, *(str(label) for label in sorted(new) if label not in _numbers(names))]


def _numbers(names: list[str]) -> list[float]:
    return [float(name) for name in names]


@dataclass(frozen=True, eq=False)
class _Changed:
    """The members of an archive with the decisions applied."""

    archive: Archive
    changes: RowChanges
    names: list[str] | None
    notes: list[str]

    @property
    def split(self) -> str:
        return UNNAMED if UNNAMED in self.archive.keys else "train"

    @property
    def count(self) -> int:
        return len(self.archive.arrays[self.archive.keys[self.split].labels])

    def member(self, key: str, content: bytes) -> bytes:
        """Return the content of an array's file, the same if nothing changes in it."""
        keys = self.archive.keys[self.split]
        if key == _NAMES and self.names is not None and len(self.names) > len(self.archive.arrays[_NAMES]):
            return _encoded(np.array(self.names))
        if key == keys.labels and self.changes:
            return _encoded(self._labels(self.archive.arrays[key])[self.changes.kept(self.count)])
        if not self.changes.dropped or not (key == keys.images or self._has_row_for_each(key, content)):
            return content
        return _encoded(np.load(io.BytesIO(content), allow_pickle=False)[self.changes.kept(self.count)])

    def _has_row_for_each(self, key: str, content: bytes) -> bool:
        """Return whether a further array has a row for each training example; note where that is not certain."""
        if key == _NAMES or any(key in keys for keys in self.archive.keys.values()):
            return False
        try:
            shape = np.load(io.BytesIO(content), allow_pickle=False).shape
        except ValueError:  # Python objects, which only unpickling could read
            self.notes.append(f"The array {key} holds Python objects, so it keeps the rows of dropped examples.")
            return False
        if not shape or shape[0] != self.count:
            return False
        words = {SPLIT_NAMES.get(word) for word in re.split(r"[^a-z]+", key.lower())} - {None}
        if self.split == UNNAMED or words == {self.split}:
            return True
        if not words:
            self.notes.append(
                f"The array {key} has as many rows as there are training examples, but not their name, so it keeps the "
                f"rows of dropped ones: call it {key}_train if it belongs to them."
            )
        return False

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels with the changed ones; they keep their type unless it is too narrow for a new label."""
        if not self.changes.labels:
            return labels
        rows = list(self.changes.labels)
        new = np.array([self._element(labels, label) for label in self.changes.labels.values()])
        with np.errstate(invalid="ignore"):
            held = new.astype(labels.dtype)
        same = np.isclose(held, new, rtol=1e-6, atol=0) if labels.dtype.kind == "f" else held == new
        # A name may be too long, a number too large, or a fraction among whole numbers.
        changed = labels.copy() if same.all() else labels.astype(np.result_type(labels, new))
        changed[rows] = new.reshape(-1, *labels.shape[1:])
        return changed

    def _element(self, labels: np.ndarray, label: str | float) -> int | float | str:
        """Return a class name or a value as an element of the labels."""
        row = self.changes.writing(label)
        if row is not None:
            element: int | float | str = labels[row].reshape(-1)[0]
            return element
        if labels.dtype.kind == "U":
            return str(label)
        if self.names is not None and labels.dtype.kind != "f":
            return self.names.index(label) if isinstance(label, str) else _numbers(self.names).index(label)
        return int(label) if isinstance(label, str) else label


def _encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
