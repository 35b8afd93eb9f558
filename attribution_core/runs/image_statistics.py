"""Statistics of images, taken when their thumbnails are made, by which odd ones and copies are found."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

_LEAST_VARIANCE = 255.0**-2  # of a single gray level; with less, an image is flat, and nothing in it can be sharp


class ImageStatistics(NamedTuple):
    """Statistics of one image. Those of gray levels, which go from 0 to 1, are of its thumbnail.

    Attributes:
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        brightness: Mean of the gray levels.
        contrast: Twice their standard deviation, 0 to 1.
        sharpness: Variance of their Laplacian over their own variance; NaN for a flat or a tiny image.
        pixels: Hash of the mode, the size and all pixels of the image as it was decoded, 16 hexadecimal digits.
    """

    width: int
    height: int
    brightness: float
    contrast: float
    sharpness: float
    pixels: str


def image_statistics(image: Image.Image, thumbnail: Image.Image) -> ImageStatistics:
    """Return the statistics of an image.

    Args:
        image: The image, as it was decoded.
        thumbnail: The same image, no larger than a thumbnail.
    """
    gray = np.asarray(thumbnail.convert("L"), dtype=np.float32) / 255
    inner = gray[1:-1, 1:-1]
    variance, sharpness = float(gray.var()), float("nan")
    if inner.size and variance > _LEAST_VARIANCE:
        laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inner
        sharpness = float(laplacian.var()) / variance
    digest = hashlib.blake2b(f"{image.mode} {image.size} ".encode(), digest_size=8)
    digest.update(image.tobytes())
    return ImageStatistics(*image.size, float(gray.mean()), 2 * variance**0.5, sharpness, digest.hexdigest())
