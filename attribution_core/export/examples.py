"""The examples of a cleaned dataset, as every writer gets them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from attribution_core.datasets import Dataset, Splits, list_examples
from attribution_core.datasets.decoding import opened_format
from attribution_core.datasets.file_kinds import SUFFIXES
from attribution_core.datasets.listing import Listing
from attribution_core.export.provenance import Provenance
from attribution_core.progress import track

SPLITS = ("train", "validation", "test")

_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
    "MPO": ".jpg",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "HEIF": ".heic",
    "JPEG2000": ".jp2",
}


@dataclass(frozen=True, eq=False)
class CleanedExamples:
    """A dataset with the reviewer's decisions applied.

    Attributes:
        splits: The dataset as it was scored.
        table: The examples with their decisions, from ``decided_labels``.
        provenance: Origin of the export, to which a writer adds what it could not keep. A zip holds it as
            provenance.json; beside any other file it is written by the export itself.
        dropped: Split and id of the examples to leave out, with those that earlier runs dropped.
        relabelled: New class name or value by split and id; only those that differ from the data.
    """

    splits: Splits
    table: pd.DataFrame
    provenance: Provenance
    dropped: frozenset[tuple[str, str]]
    relabelled: dict[tuple[str, str], str | float]

    @classmethod
    def of(cls, splits: Splits, table: pd.DataFrame, whole: pd.DataFrame, provenance: Provenance) -> CleanedExamples:
        """Apply decisions.

        Args:
            splits: The dataset as it was scored.
            table: The examples with their decisions, from ``decided_labels``.
            whole: The same with the decisions of earlier runs, from ``cleaned_table``.
            provenance: Origin of the export.
        """
        gone = (whole["action"] == "drop").to_numpy()
        changed = ~gone & (whole["label"] != whole["label_in_data"]).to_numpy()
        names = splits.train.class_names
        new = [names[label] if names else label for label in whole["label"][changed].tolist()]
        keys = list(zip(whole["split"], whole["id"], strict=True))
        relabelled = {keys[row]: label for row, label in zip(np.flatnonzero(changed), new, strict=True)}
        return cls(splits, table, provenance, frozenset(keys[row] for row in np.flatnonzero(gone)), relabelled)

    @cached_property
    def listing(self) -> Listing:
        """All examples of the source, with those that were not scored; nothing is decoded."""
        splits = self.splits
        return list_examples(splits.location or splits.name, splits.target, splits.task)

    def dropped_from(self, part: str) -> frozenset[str]:
        """Return the ids to leave out of a split of the source."""
        return frozenset(id_ for split, id_ in self.dropped if self._home(split) == part)

    def relabelled_in(self, part: str) -> dict[str, str | float]:
        """Return the new class name or value by id in a split of the source."""
        return {id_: label for (split, id_), label in self.relabelled.items() if self._home(split) == part}

    def _home(self, split: str) -> str:
        """Return the split of the source that has the examples of a split: they may be set aside from the training."""
        return split if split in self.listing.parts else "train"

    @cached_property
    def rows(self) -> pd.DataFrame:
        """A row for each example that stays, split by split.

        The columns are label (the final one), id, split, position (in the split), and the group columns.
        """
        parts = []
        for split, part in self.splits.by_name.items():
            table = self.table[self.table["split"] == split]
            positions = np.flatnonzero((table["action"] != "drop").to_numpy())
            frame = pd.DataFrame(
                {
                    "label": table["label"].to_numpy()[positions],
                    "id": table["id"].to_numpy()[positions],
                    "split": split,
                    "position": positions,
                }
            )
            groups = part.groups.iloc[positions].reset_index(drop=True)
            parts.append(pd.concat([frame, groups.drop(columns=[*frame.columns, "image"], errors="ignore")], axis=1))
        return pd.concat(parts, ignore_index=True)


def image_files(splits: Splits, rows: pd.DataFrame) -> Iterator[tuple[str, bytes, str]]:
    """Yield the image file of each row, and report the progress.

    Args:
        splits: The dataset.
        rows: Rows of :class:`CleanedExamples`, all or some.

    Yields:
        The stem of the file's name, its content and its suffix.
    """
    entries = zip(rows["split"], rows["position"], rows["id"], strict=True)
    for split, position, id_ in track(entries, len(rows), "export"):
        yield _stem(id_), *_encoded(getattr(splits, split), position)


def _encoded(split: Dataset, position: int) -> tuple[bytes, str]:
    """Return the original content and suffix of an image if its format is a common one, else those of a PNG."""
    source = split.source(position)
    if source is not None:
        suffix = _SUFFIXES.get(opened_format(source) or "")
        if suffix is not None:
            return source, suffix
    image, _ = split[position]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _stem(id_: str) -> str:
    """Make the stem of a file's name from an example's id, which is often a path with a suffix."""
    name = PurePosixPath(id_.replace("\\", "/")).name
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name
