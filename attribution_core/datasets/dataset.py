"""One split of a labelled dataset, and the three splits together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch.utils.data
from PIL import Image

from attribution_core.datasets.inspection import ImageFacts
from attribution_core.datasets.listing import Examples, Kind, Unreadable
from attribution_core.datasets.targets import Task, ValueScale


class Dataset(torch.utils.data.Dataset[tuple[Any, int | float]]):
    """One split: ``n`` images with a label each; or texts, or rows of a table (each a dict of its features).

    A label is a class, or a value where that is to be predicted (a regression).

    Attributes:
        ids: Unique within the split, and the same whenever and wherever the dataset is opened.
        labels: Positions in ``class_names``, int64 ``[n]``; or values in their own unit, float64 ``[n]``.
        class_names: The same list for every split of a dataset; empty where labels are values.
        groups: ``n`` rows and a column for each way to group the examples, for example ``original_label``. May have
            no column at all.
        mode: "L" if every image of the whole dataset is grey, else "RGB"; "text" or "table" where there are no images.
        sizes: Height and width of each image, int64 ``[n, 2]``; zeros where there are none.
        values: What is known of the values of a regression, the same for every split; None where labels are classes.
    """

    def __init__(
        self,
        examples: Examples,
        facts: Sequence[ImageFacts],
        class_names: list[str],
        mode: str,
        values: ValueScale | None = None,
    ) -> None:
        self.ids = examples.ids
        self.labels = examples.labels
        self.groups = examples.groups
        self.class_names = class_names
        self.mode = mode
        self.values = values
        self.sizes = np.array([(f.height, f.width) for f in facts], dtype=np.int64).reshape(-1, 2)
        self._examples = examples
        self._facts = facts

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kind(self) -> Kind:
        """What an example is: "image", "text" or "table"."""
        return self.mode if self.mode in ("text", "table") else "image"  # type: ignore[return-value]

    @property
    def targets(self) -> torch.Tensor:
        """What a model learns: classes, int64 ``[n]``, or values in standard deviations, float32 ``[n]``."""
        if self.values is None:
            return torch.from_numpy(self.labels.copy())
        return torch.from_numpy(self.values.standardize(self.labels)).float()

    @property
    def strata(self) -> np.ndarray:
        """The class, or the range of the value, of each example: its position in ``strata_names``, int64 ``[n]``."""
        return self.labels if self.values is None else self.values.ranges(self.labels)

    @property
    def strata_names(self) -> list[str]:
        """Of the classes, or of the ranges of values."""
        return self.class_names if self.values is None else self.values.range_names

    def __getitem__(self, index: int) -> tuple[Any, int | float]:
        example: Any = self._examples.images[index].decoded()
        return example.convert(self.mode) if isinstance(example, Image.Image) else example, self.labels[index].item()

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The examples at these positions in this order, or where a boolean mask ``[n]`` is true."""
        positions = np.arange(len(self))[np.asarray(indices, dtype=None if len(indices) else np.int64)]
        facts = [self._facts[i] for i in positions]
        return Dataset(self._examples.take(positions), facts, self.class_names, self.mode, self.values)

    def relabeled(self, labels: np.ndarray) -> Dataset:
        """The same examples with other labels, of the same kind, ``[n]``."""
        return Dataset(replace(self._examples, labels=labels), self._facts, self.class_names, self.mode, self.values)

    def source(self, index: int) -> bytes | None:
        """The original image file, byte for byte; None where the dataset came as arrays."""
        return self._examples.images[index].encoded()

    def digest(self) -> str:
        """SHA-256 over ids, labels, class names and image contents."""
        head = json.dumps([self.class_names, self.ids, self.labels.tolist()])
        return hashlib.sha256(head.encode() + b"".join(f.digest for f in self._facts)).hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset as it was opened; unpacks as ``train, validation, test``.

    Attributes:
        train: What the model learns from, and what is scored.
        validation: For choosing settings.
        test: For measuring effects.
        name: Short, for people.
        location: Absolute path, or "" for a dataset known by its name.
        unreadable: Images that were found and left out.
        notes: Sentences that a person should see before trusting a score.
        target: The column that was asked for, of a table.
        task: Whether it was asked for as classes or as values.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    name: str
    location: str
    unreadable: list[Unreadable]
    notes: list[str]
    target: str | None = None
    task: Task = "auto"

    def __iter__(self) -> Iterator[Dataset]:
        return iter((self.train, self.validation, self.test))

    @property
    def by_name(self) -> dict[str, Dataset]:
        """``"train"``, ``"validation"`` and ``"test"``."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """SHA-256 over the ids, labels, class names and image contents of the three splits, wherever they lie."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256("".join(split.digest() for split in self).encode()).hexdigest()
