"""Sources of images: in files, in memory as files, and arrays of pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from attribution_core.datasets.decoding import Levels, decode
from attribution_core.errors import InputError


class ImageSource(Protocol):
    """One image (or text or row), kept in its original form."""

    def encoded(self) -> bytes | None:
        """Return the original file's bytes; None if there was no file."""

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image in a file, read each time it is needed.

    Attributes:
        path: Path of the file.
        levels: Range of values of an image with more than 8 bits; None for any other.
    """

    path: Path
    levels: Levels | None = None

    def encoded(self) -> bytes:
        """Return the file's bytes."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"The image {self.path} cannot be read: {error.strerror}.") from error

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""
        return decode(self.encoded(), self.levels)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded image in memory, as Parquet files hold it.

    Attributes:
        data: Content of the file.
        levels: Range of values of an image with more than 8 bits; None for any other.
    """

    data: bytes
    levels: Levels | None = None

    def encoded(self) -> bytes:
        """Return the original file's bytes."""
        return self.data

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""
        return decode(self.data, self.levels)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayImage:
    """Pixels that never were a file: uint8 ``[height, width]`` or, in color, ``[height, width, 3]``."""

    pixels: np.ndarray

    def encoded(self) -> None:
        """Return None, because there is no file."""
        return

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""
        return Image.fromarray(self.pixels)
