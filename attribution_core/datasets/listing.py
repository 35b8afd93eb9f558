"""What the reader of a format returns: examples by split, listed but not yet decoded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from attribution_core.datasets.images import ImageSource
from attribution_core.datasets.split_names import SPLIT_NAMES

Kind = Literal["image", "text", "table"]

UNNAMED = "row"  # the split of rows without one; their ids begin with it too

# A file name that begins with the name of a split.
SPLIT_FILE = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])")


def normalize_name(text: str) -> str:
    """Return a name or id in Unicode's composed form, so that names from different systems compare equal."""
    return str(unicodedata.normalize("NFC", text))  # not a NumPy string


def numbered_ids(splits: np.ndarray) -> list[str]:
    """Return ids for rows without their own, from their splits ``[n]``: the split and the row's number in it."""
    rows = pd.Series(splits).groupby(splits).cumcount()
    return [f"{split}-{row:06d}" for split, row in zip(splits, rows, strict=True)]


@dataclass(frozen=True)
class Unreadable:
    """An image that was found but skipped."""

    where: str
    why: str


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples that are not yet decoded; every attribute has ``n`` entries.

    Attributes:
        ids: The same each time and wherever the dataset is opened.
        images: Source of each image, text or row.
        labels: Positions in the class names, int64 ``[n]``; or values, float64 ``[n]``.
        groups: ``n`` rows and one column for each way to group the examples.
        rows: Row of each example in its source, int64 ``[n]``, by which an export finds it there: in the file of rows,
            or all such files in their order, or in the arrays of its split. Counted from 0, by default without gaps.
    """

    ids: list[str]
    images: list[ImageSource]
    labels: np.ndarray
    groups: pd.DataFrame
    rows: np.ndarray = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(len(self.ids)))

    @classmethod
    def without_groups(cls, ids: list[str], images: Sequence[ImageSource], labels: np.ndarray) -> Examples:
        """Create examples from images and labels alone."""
        kind = np.float64 if np.issubdtype(labels.dtype, np.floating) else np.int64
        return cls(ids, list(images), labels.astype(kind), pd.DataFrame(index=range(len(ids))))

    def take(self, positions: np.ndarray) -> Examples:
        """Return the examples at these positions, int64 ``[k]``, in this order."""
        return Examples(
            [self.ids[i] for i in positions],
            [self.images[i] for i in positions],
            self.labels[positions],
            self.groups.iloc[positions].reset_index(drop=True),
            self.rows[positions],
        )

    def by_split(self, splits: np.ndarray) -> dict[str, Examples]:
        """Return the examples by split ``[n]``; those without a split are for training."""
        parts = {str(name): self.take(np.flatnonzero(splits == name)) for name in np.unique(splits)}
        if UNNAMED in parts:
            parts["train"] = parts.pop(UNNAMED)
        return parts


@dataclass(frozen=True, eq=False)
class Listing:
    """Everything that the reader of a format found.

    Attributes:
        parts: Examples by split ("train", "validation", "test"). A dataset without splits is all "train".
        class_names: Names of the classes; empty for values.
        unreadable: Files that could not be listed as examples.
        notes: Sentences that a user should read.
        kind: Kind of example.
        target: Name of the target column, if it has one.
        what: What was taken as what, in a few words: "images in class folders"; empty for the kind alone.
        split_names: Name in the source (of a folder, a file or a cell) of a split that is called otherwise there.
    """

    parts: dict[str, Examples]
    class_names: list[str]
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: Kind = "image"
    target: str = ""
    what: str = ""
    split_names: dict[str, str] = field(default_factory=dict)
