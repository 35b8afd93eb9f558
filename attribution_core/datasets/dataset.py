"""One split of a labeled dataset, and the three splits together."""

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

from attribution_core.datasets.inspection import MOST_KEPT, ImageFacts
from attribution_core.datasets.listing import Examples, Kind, Unreadable
from attribution_core.datasets.targets import Task, ValueScale
from attribution_core.progress import track


class Dataset(torch.utils.data.Dataset[tuple[Any, int | float]]):
    """One split of ``n`` labeled examples: images, texts or table rows (dicts of features).

    A label is a class (classification) or a value (regression).

    Attributes:
        ids: Unique within the split; the same each time and wherever the dataset is opened.
        labels: Positions in ``class_names``, int64 ``[n]``; or values in the unit of the data, float64 ``[n]``.
        class_names: The same list for every split of a dataset; empty for a regression.
        groups: ``n`` rows and one column for each way to group the examples, for example ``original_label``; may have
            no columns.
        mode: "L" if every image of the dataset is gray, otherwise "RGB"; "text" or "table" for other examples.
        sizes: Height and width of each image, int64 ``[n, 2]``; zeros for texts and rows.
        values: Scale and ranges of the values of a regression, the same for every split; None for a classification.
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
        self._pixels: dict[tuple[int, int], torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kind(self) -> Kind:
        """Kind of example: "image", "text" or "table"."""
        return self.mode if self.mode in ("text", "table") else "image"  # type: ignore[return-value]

    @property
    def targets(self) -> torch.Tensor:
        """Targets that a model learns: classes, int64 ``[n]``, or values in standard deviations, float32 ``[n]``."""
        if self.values is None:
            return torch.from_numpy(self.labels.copy())
        return torch.from_numpy(self.values.standardize(self.labels)).float()

    @property
    def strata(self) -> np.ndarray:
        """Class, or range of values, of each example, as a position in ``strata_names``: int64 ``[n]``."""
        return self.labels if self.values is None else self.values.ranges(self.labels)

    @property
    def strata_names(self) -> list[str]:
        """Names of the classes, or of the ranges of values."""
        return self.class_names if self.values is None else self.values.range_names

    def __getitem__(self, index: int) -> tuple[Any, int | float]:
        example = self._facts[index].decoded or self._examples.images[index].decoded()
        # converting makes another image, which may be changed
        return example.convert(self.mode) if isinstance(example, Image.Image) else example, self.labels[index].item()

    def pixels(self, size: tuple[int, int]) -> torch.Tensor:
        """Return the images of a size (height, width), uint8 ``[n, c, h, w]``; kept while they are small.

        Images of another size are resized (bilinear, antialiased).
        """
        if size in self._pixels:
            return self._pixels[size]
        height, width = size
        pixels = torch.empty(len(self), len(self.mode), height, width, dtype=torch.uint8)
        images = (self.resized(index, size) for index in range(len(self)))
        for row, image in zip(pixels, track(images, len(self), "reading images"), strict=True):
            row[:] = torch.from_numpy(np.array(image).reshape(height, width, -1)).permute(2, 0, 1)
        if pixels.nbytes <= MOST_KEPT:
            self._pixels = {size: pixels}
        return pixels

    def resized(self, index: int, size: tuple[int, int] | None) -> Image.Image:
        """Return an image, resized to (height, width) unless that is None."""
        image: Image.Image = self[index][0]
        if size is not None and (image.height, image.width) != size:
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)  # Pillow antialiases
        return image

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """Return the examples at these positions, in this order, or those where a boolean mask ``[n]`` is true."""
        positions = np.arange(len(self))[np.asarray(indices, dtype=None if len(indices) else np.int64)]
        facts = [self._facts[i] for i in positions]
        return Dataset(self._examples.take(positions), facts, self.class_names, self.mode, self.values)

    def relabeled(self, labels: np.ndarray) -> Dataset:
        """Return the same examples with other labels ``[n]`` of the same kind."""
        return Dataset(replace(self._examples, labels=labels), self._facts, self.class_names, self.mode, self.values)

    def source(self, index: int) -> bytes | None:
        """Return the original image file, byte for byte; None for a dataset of arrays."""
        return self._examples.images[index].encoded()

    def digest(self) -> str:
        """Return the SHA-256 of the ids, labels, class names and image contents."""
        head = json.dumps([self.class_names, self.ids, self.labels.tolist()])
        return hashlib.sha256(head.encode() + b"".join(f.digest for f in self._facts)).hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """An opened dataset; unpacks as ``train, validation, test``.

    Attributes:
        train: Examples that the model learns from and that are scored.
        validation: Examples for choosing settings.
        test: Examples on which effects are measured.
        name: Short name for display.
        location: Absolute path, or "" for a dataset opened by name.
        unreadable: Images that were found but skipped.
        notes: Sentences that a user should read before trusting a score.
        target: Requested target column of a table.
        task: Requested task.
        opened: One line that says what was taken as what.
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
    opened: str = ""

    def __iter__(self) -> Iterator[Dataset]:
        return iter((self.train, self.validation, self.test))

    @property
    def by_name(self) -> dict[str, Dataset]:
        """The splits under ``"train"``, ``"validation"`` and ``"test"``."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the three splits' ids, labels, class names and image contents."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256("".join(split.digest() for split in self).encode()).hexdigest()
