"""Reads images as a model takes them: resized, standardized, and passed through its frozen part."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.datasets import Dataset, as_tensors, pixel_statistics
from attribution_core.datasets.tensors import Statistics, standardize
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.progress import track

# Images that pass through a frozen network at once: more take longer to allocate and are no faster.
_CHUNK = 32


@dataclass(frozen=True)
class ImageReader:
    """Reads all splits of a dataset in one way.

    Attributes:
        shape: Shape of an image as the network takes it, ``(channels, height, width)``.
        statistics: Mean and standard deviation that standardize the pixels.
        trunk: The frozen part of the network, ``[b, channels, height, width]`` to ``[b, ...]``; None if all of it is
            trained.
    """

    shape: tuple[int, ...]
    statistics: Statistics
    trunk: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def for_training(
        cls,
        train: Dataset,
        shape: tuple[int, ...],
        preprocessing: Preprocessing | None,
        trunk: Callable[[Tensor], Tensor] | None = None,
    ) -> "ImageReader":
        """Make a reader with the preprocessing's mean and standard deviation, or else those of the training images."""
        if preprocessing is not None and preprocessing.mean and preprocessing.std:
            return cls(shape, Statistics(preprocessing.mean, preprocessing.std), trunk)
        return cls(shape, pixel_statistics(train, size=(shape[1], shape[2])), trunk)

    def __call__(self, part: Dataset) -> InputsAndTargets:
        """Return inputs ``[n, ...]``, float32, and targets ``[n]``."""
        if self.trunk is None:
            return self._read(part)
        starts = range(0, len(part), _CHUNK)
        features, targets = [], []
        for start in track(starts, len(starts), "passing images through the frozen layers"):
            few = self._read(part.subset(range(start, min(start + _CHUNK, len(part)))))
            features.append(self.trunk(few[0]).cpu())
            targets.append(few[1])
        return torch.cat(features), torch.cat(targets)

    def _read(self, part: Dataset) -> InputsAndTargets:
        size, channels = (self.shape[1], self.shape[2]), self.shape[0]
        if channels == len(part.mode):
            return as_tensors(part, size=size, statistics=self.statistics)
        gray, targets = as_tensors(part, size=size, statistics=None)
        return standardize(gray.repeat(1, channels, 1, 1), self.statistics), targets
