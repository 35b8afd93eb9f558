"""Turn images into tensors of one size, scaled to 0..1 and standardized with the training split's pixel statistics."""

from dataclasses import dataclass

import numpy as np
import torch

from attribution_core.datasets.dataset import Dataset
from attribution_core.errors import InputError
from attribution_core.progress import track

_LARGEST_DEFAULT_SIDE = 64


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, for pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def common_size(dataset: Dataset) -> tuple[int, int]:
    """Return the size to which all images of a dataset are resized.

    Returns:
        (height, width): the size that all images share; otherwise the median height and width, shrunk proportionally
        if a side exceeds 64, because the cost of every score grows with the number of pixels.
    """
    if len(np.unique(dataset.sizes, axis=0)) == 1:
        height, width = dataset.sizes[0]
        return int(height), int(width)
    median = np.median(dataset.sizes, axis=0)
    height, width = np.maximum(1, np.rint(median * min(1.0, _LARGEST_DEFAULT_SIDE / median.max())))
    return int(height), int(width)


def pixel_statistics(
    dataset: Dataset,
    *,
    size: tuple[int, int] | None = None,
) -> Statistics:
    """Compute the mean and standard deviation of each channel over all pixels of a split.

    Args:
        dataset: The training split.
        size: (height, width) to which the images are resized first; pass the same size as to ``as_tensors``. None keeps
            each image's size.

    Returns:
        The statistics; a constant channel gets standard deviation 1, so that dividing by it is harmless.
    """
    channels = len(dataset.mode)
    counts = np.zeros((channels, 256), dtype=np.int64)  # histograms lose nothing: pixels have 8 bits
    images = (dataset.resized(index, size) for index in range(len(dataset)))
    for image in track(images, len(dataset), "measuring pixels"):
        counts += np.reshape(image.histogram(), (channels, 256))
    values = np.arange(256) / 255
    total = counts.sum(1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / total
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()))


def as_tensors(
    dataset: Dataset,
    *,
    size: tuple[int, int] | None,
    statistics: Statistics | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode a whole split.

    Args:
        dataset: The ``n`` images of ``c`` channels.
        size: (height, width); images of another size are resized (bilinear, antialiased). None requires one size
            for all images.
        statistics: Mean to subtract and standard deviation to divide by, for each channel; None leaves the pixels in
            0..1.

    Returns:
        Inputs, float32 ``[n, c, h, w]``, and targets: ``dataset.targets``.

    Raises:
        InputError: No size is given and the images have several.
    """
    inputs = dataset.pixels(size or _only_size(dataset)).to(torch.float32).div_(255)
    if statistics is not None:
        inputs = standardize(inputs, statistics)
    return inputs, dataset.targets


def standardize(pixels: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Standardize pixels in 0..1 ``[n, c, h, w]`` by each channel's mean and standard deviation, in place."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (statistics.mean, statistics.std))
    return pixels.sub_(mean).div_(std)


def _only_size(dataset: Dataset) -> tuple[int, int]:
    sizes, counts = np.unique(dataset.sizes, axis=0, return_counts=True)
    if len(sizes) != 1:
        order = np.argsort(-counts, kind="stable")[:3]
        named = ", ".join(f"{sizes[i][0]} x {sizes[i][1]} ({counts[i]} images)" for i in order)
        raise InputError(
            f"The images must have one size, but they have {len(sizes)} sizes (height x width): {named}"
            f"{', ...' if len(sizes) > 3 else ''}; give a size to resize them to."
        )
    return int(sizes[0][0]), int(sizes[0][1])
