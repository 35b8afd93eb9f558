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
        table: The training examples with their decisions, from ``Run.cleaned_labels``.
        provenance: Origin of the export, to which a writer adds what it could not keep. A zip holds it as
            provenance.json; beside any other file it is written by the export itself.
        dropped: Ids of the training examples to leave out, with those that earlier runs dropped.
        relabelled: New class name or value by id of a training example; only those that differ from the data.
    """

    splits: Splits
    table: pd.DataFrame
    provenance: Provenance
    dropped: frozenset[str]
    relabelled: dict[str, str | float]

    @classmethod
    def of(cls, splits: Splits, table: pd.DataFrame, whole: pd.DataFrame, provenance: Provenance) -> CleanedExamples:
        """Apply decisions.

        Args:
            splits: The dataset as it was scored.
            table: The training examples with their decisions, from ``Run.cleaned_labels``.
            whole: The same with the decisions of earlier runs, from ``cleaned_table``.
            provenance: Origin of the export.
        """
        gone = (whole["action"] == "drop").to_numpy()
        changed = ~gone & (whole["label"] != whole["label_in_data"]).to_numpy()
        names = splits.train.class_names
        new = [names[label] if names else label for label in whole["label"][changed].tolist()]
        relabelled = dict(zip(whole["id"][changed].tolist(), new, strict=True))
        return cls(splits, table, provenance, frozenset(whole["id"][gone]), relabelled)

    @cached_property
    def listing(self) -> Listing:
        """All examples of the source, with those that were not scored; nothing is decoded."""
        splits = self.splits
        return list_examples(splits.location or splits.name, splits.target, splits.task)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """A row for each example that stays, split by split: all but the dropped ones of the training set.

        The columns are label (the final one), id, split, position (in the split), and the group columns.
        """
        kept = np.flatnonzero((self.table["action"] != "drop").to_numpy())
        chosen = {
            "train": (kept, self.table["label"].to_numpy()[kept]),
            "validation": (np.arange(len(self.splits.validation)), self.splits.validation.labels),
            "test": (np.arange(len(self.splits.test)), self.splits.test.labels),
        }
        parts = []
        for split, (positions, labels) in chosen.items():
            part = self.splits.by_name[split]
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
