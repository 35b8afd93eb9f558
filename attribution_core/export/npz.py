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
from attribution_core.runs.labels import split_name

_NAMES = "class_names"


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the original archive with the decisions applied to the arrays of each split.

    These are the images, the labels and every further array with as many rows; in an archive with splits, only if its
    name has that of the split as a word, such as ``train_ids``. All other arrays are copied byte for byte.
    """
    source = Path(examples.splits.location)
    archive = read_archive(source)
    changes = {part: row_changes(examples, *(() if part == UNNAMED else (part,))) for part in archive.keys}
    writer = _Changed(archive, changes, _names(archive, changes), examples.provenance.notes)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        members = old.infolist()
        for done, member in enumerate(members, start=1):
            content = writer.member(member.filename.removesuffix(".npy"), old.read(member))
            new.writestr(member, content, member.compress_type)
            report(done, len(members), "export")


def _names(archive: Archive, changes: dict[str, RowChanges]) -> list[str] | None:
    """Return the class names, with the new values of a regression whose labels are positions among its values."""
    names = declared_names(archive)
    if names is None:
        return None
    labels = [label for each in changes.values() for label in each.labels.values()]
    new = {label for label in labels if not isinstance(label, str)}
    return [*names, *(str(label) for label in sorted(new) if label not in _numbers(names))]


def _numbers(names: list[str]) -> list[float]:
    return [float(name) for name in names]


@dataclass(frozen=True, eq=False)
class _Changed:
    """The members of an archive with the decisions applied; the changes are those in the arrays of each split."""

    archive: Archive
    changes: dict[str, RowChanges]
    names: list[str] | None
    notes: list[str]

    def member(self, key: str, content: bytes) -> bytes:
        """Return the content of an array's file, the same if nothing changes in it."""
        if key == _NAMES and self.names is not None and len(self.names) > len(self.archive.arrays[_NAMES]):
            return _encoded(np.array(self.names))
        split = next((split for split, keys in self.archive.keys.items() if key in keys), None)
        if split is not None and key == self.archive.keys[split].labels and self.changes[split]:
            labels = self._labels(self.archive.arrays[key], self.changes[split])
            return _encoded(labels[self.changes[split].kept(len(labels))])
        if split is None:
            split = self._split_of_rows(key, content)
        if split is None or not self.changes[split].dropped:
            return content
        array = np.load(io.BytesIO(content), allow_pickle=False)
        return _encoded(array[self.changes[split].kept(len(array))])

    def _split_of_rows(self, key: str, content: bytes) -> str | None:
        """Return the split of which a further array has a row for each example; note where that is not certain."""
        reduced = {split: self._count(split) for split, changes in self.changes.items() if changes.dropped}
        if key == _NAMES or not reduced:
            return None
        try:
            shape = np.load(io.BytesIO(content), allow_pickle=False).shape
        except ValueError:  # Python objects, which only unpickling could read
            self.notes.append(f"The array {key} holds Python objects, so it keeps the rows of dropped examples.")
            return None
        fitting = [split for split, count in reduced.items() if shape and shape[0] == count]
        words = {SPLIT_NAMES.get(word) for word in re.split(r"[^a-z]+", key.lower())} - {None}
        named = next((split for split in fitting if split == UNNAMED or words == {split}), None)
        if named is None and fitting and not words:
            first = fitting[0]
            self.notes.append(
                f"The array {key} has as many rows as there are {split_name(first)} examples, but not their name, so "
                f"it keeps the rows of dropped ones: call it {key}_{first} if it belongs to them."
            )
        return named

    def _count(self, split: str) -> int:
        return len(self.archive.arrays[self.archive.keys[split].labels])

    def _labels(self, labels: np.ndarray, changes: RowChanges) -> np.ndarray:
        """Return the labels with the changed ones; they keep their type unless it is too narrow for a new label."""
        if not changes.labels:
            return labels
        rows = list(changes.labels)
        new = np.array([self._element(labels, label, changes) for label in changes.labels.values()])
        with np.errstate(invalid="ignore"):
            held = new.astype(labels.dtype)
        same = np.isclose(held, new, rtol=1e-6, atol=0) if labels.dtype.kind == "f" else held == new
        # A name may be too long, a number too large, or a fraction among whole numbers.
        changed = labels.copy() if same.all() else labels.astype(np.result_type(labels, new))
        changed[rows] = new.reshape(-1, *labels.shape[1:])
        return changed

    def _element(self, labels: np.ndarray, label: str | float, changes: RowChanges) -> int | float | str:
        """Return a class name or a value as an element of the labels."""
        row = changes.writing(label)
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
