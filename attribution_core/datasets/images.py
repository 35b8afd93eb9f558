"""Sources of images, and the decoding of any image to 8-bit gray or RGB."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from attribution_core.errors import InputError

# Pillow opens more formats, some through an outside program (EPS); datasets need only these.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)


class ImageSource(Protocol):
    """One image (or text or row), kept in its original form."""

    def encoded(self) -> bytes | None:
        """Return the original file's bytes; None if there was no file."""

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image in a file, read each time it is needed."""

    path: Path

    def encoded(self) -> bytes:
        """Return the file's bytes."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"The image {self.path} cannot be read: {error.strerror}.") from error

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""
        return decode(self.encoded())


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded image in memory, as Parquet files hold it."""

    data: bytes

    def encoded(self) -> bytes:
        """Return the original file's bytes."""
        return self.data

    def decoded(self) -> Image.Image:
        """Return the image as "L" or "RGB"."""
        return decode(self.data)


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


def decode(data: bytes) -> Image.Image:
    """Decode an image file: first frame, upright, 8 bits, transparency over white.

    Args:
        data: Bytes of the file.

    Returns:
        The image in mode "L" or "RGB".

    Raises:
        ValueError: The file is not an image in a known format, or its pixel values have no agreed range. Pillow
            raises many other types for malformed files.
    """
    if not data:
        raise ValueError("it is empty (zero bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return to_eight_bits(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:  # Pillow's message names a memory address
        raise ValueError("it is not an image in a known format (" + ", ".join(_FORMATS) + ")") from error


def is_gray(image: Image.Image) -> bool:
    """Return whether every pixel has equal red, green and blue, however the image is stored."""
    if image.mode == "L":
        return True
    red, green, blue = (band.tobytes() for band in image.split())
    return red == green == blue


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to "L" or "RGB"."""
    if image.mode == "F":
        raise ValueError("its floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _scale_sixteen_bits(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image)
        return flat.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _scale_sixteen_bits(values: np.ndarray) -> Image.Image:
    """Scale gray values 0..65535 to 0..255, rounded; Pillow's own conversion clips at 255 instead."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its 32-bit pixels have no agreed range; save it with 8 or 16 bits")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
