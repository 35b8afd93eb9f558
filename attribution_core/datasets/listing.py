"""What a format's reader hands over: examples by split, listed but not yet decoded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from attribution_core.datasets.images import ImageSource

Kind = Literal["image", "text", "table"]

UNNAMED = "row"  # the split of rows that name none; also how their ids begin

# How folders, files and split columns call the three splits, in lower case.
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


# A file's name that begins with that of a split.
SPLIT_FILE = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])")


def normalize_name(text: str) -> str:
    """As names and ids are compared: one form of each letter, whatever a file or a system makes of it."""
    return str(unicodedata.normalize("NFC", text))  # and not NumPy's own kind of text


def numbered_ids(splits: np.ndarray) -> list[str]:
    """Ids of rows that bring none, from their splits ``[n]``: the split and the row's number in it."""
    rows = pd.Series(splits).groupby(splits).cumcount()
    return [f"{split}-{row:06d}" for split, row in zip(splits, rows, strict=True)]


@dataclass(frozen=True)
class Unreadable:
    """An image that was found and left out."""

    where: str
    why: str


@dataclass(frozen=True, eq=False)
class Examples:
    """Some examples, not yet decoded; every part has ``n`` entries.

    Attributes:
        ids: Names that stay the same whenever and wherever the dataset is opened.
        images: Where each image comes from.
        labels: Positions in the class names, int64 ``[n]``; or values, float64 ``[n]``.
        groups: ``n`` rows, one column for each way to group the examples.
    """

    ids: list[str]
    images: list[ImageSource]
    labels: np.ndarray
    groups: pd.DataFrame

    @classmethod
    def without_groups(cls, ids: list[str], images: Sequence[ImageSource], labels: np.ndarray) -> Examples:
        """Examples of a format that knows nothing but images and labels."""
        kind = np.float64 if np.issubdtype(labels.dtype, np.floating) else np.int64
        return cls(ids, list(images), labels.astype(kind), pd.DataFrame(index=range(len(ids))))

    def take(self, positions: np.ndarray) -> Examples:
        """The examples at these positions, int64 ``[k]``, in this order."""
        return Examples(
            [self.ids[i] for i in positions],
            [self.images[i] for i in positions],
            self.labels[positions],
            self.groups.iloc[positions].reset_index(drop=True),
        )

    def by_split(self, splits: np.ndarray) -> dict[str, Examples]:
        """The examples of each split ``[n]``; those of none are for training."""
        parts = {str(name): self.take(np.flatnonzero(splits == name)) for name in np.unique(splits)}
        if UNNAMED in parts:
            parts["train"] = parts.pop(UNNAMED)
        return parts


@dataclass(frozen=True, eq=False)
class Listing:
    """All that a format's reader found in one place.

    Attributes:
        parts: Examples by split ("train", "validation", "test"). A dataset that knows no splits is all "train".
        class_names: What the labels count; none where they are values.
        unreadable: Files that could not even be listed as examples.
        notes: Sentences that a person should see.
        kind: What an example is.
        target: What values are called: the column that they are from, where it has a name.
    """

    parts: dict[str, Examples]
    class_names: list[str]
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: Kind = "image"
    target: str = ""
