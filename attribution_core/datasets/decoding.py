"""Decode any image file to 8-bit gray or RGB.

Images with more than 8 bits for each channel keep their levels only if black and white are where the dataset's own
values lie: 10-bit data in 16-bit files would otherwise become a handful of grays. :class:`Levels` holds that range. It
is one for the whole dataset, so that equal values stay equal.
"""

import io
import math
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.TiffImagePlugin import TiffImageFile

from attribution_core.datasets.file_kinds import described, image_format

# Pillow opens more formats, some through an outside program (EPS); datasets need only these.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000"}  # features that Pillow may be built without
_SIXTEEN_BITS = 65535
_BITS_PER_SAMPLE = 258  # a tag of TIFF
_PARTS = 8  # the bounds of a range are multiples of an eighth of its size, so that they survive changes to the dataset

# Key in an image's info: true if the decoder kept only the upper 8 of 16 bits, as Pillow does in color.
UPPER_BITS = "upper bits only"


@dataclass(frozen=True, slots=True)
class Levels:
    """The pixel values that become black and white, in images with more than 8 bits for each channel."""

    low: float
    high: float

    @classmethod
    def of(cls, ranges: Iterable[tuple[float, float]], whole: bool) -> "Levels":
        """Return the range that a dataset uses.

        Args:
            ranges: Smallest and largest value of each image.
            whole: Whether the values are whole numbers.

        Returns:
            0 to 65535 if whole numbers of 16 bits use more than half of that. Otherwise the smallest and largest value
            of all images, rounded outward to eighths of a power of two: 0 to 1023 for 10-bit data.
        """
        lows, highs = zip(*ranges, strict=True)
        low, high = min(lows), max(highs)
        if whole and low >= 0 and high <= _SIXTEEN_BITS and high - low > _SIXTEEN_BITS // 2:
            return cls(0, _SIXTEEN_BITS)
        if low == high:
            return cls(low, low + 1)
        span = high - low + whole  # whole numbers 0 to 1023 are 1024 values
        step = 2.0 ** math.ceil(math.log2(span)) / _PARTS
        step = max(step, 1.0) if whole else step
        return cls(math.floor(low / step) * step, math.ceil((high + whole) / step) * step - whole)

    def to_eight_bits(self, values: np.ndarray) -> np.ndarray:
        """Scale values to 0..255, rounded, uint8; values outside the range become black or white."""
        scaled = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)

    def __str__(self) -> str:
        return f"{self.low:,.6g} to {self.high:,.6g}" if self.high < 1e6 else f"{self.low:g} to {self.high:g}"


SIXTEEN_BITS = Levels(0, _SIXTEEN_BITS)


@dataclass(frozen=True, slots=True, eq=False)
class DeepImage:
    """Pixels of more than 8 bits for each channel, ``[height, width, 1 to 4]``: L, LA, RGB or RGBA.

    Attributes:
        pixels: uint16, int32 or float32.
    """

    pixels: np.ndarray

    @property
    def colors(self) -> np.ndarray:
        """The channels but transparency."""
        channels = self.pixels.shape[2]
        return self.pixels[..., : channels - (channels in (2, 4))]

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.pixels.dtype.kind in "iu"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.colors.min()), float(self.colors.max())

    def to_eight_bits(self, levels: Levels | None = None) -> Image.Image:
        """Return the image as "L" or "RGB", by default from the range of 16 bits.

        Raises:
            ValueError: The values have another range, and none was given.
        """
        if levels is None:
            levels = self._declared_levels()
        channels = levels.to_eight_bits(self.colors)
        if self.colors.shape[2] < self.pixels.shape[2]:
            opacity = SIXTEEN_BITS.to_eight_bits(self.pixels[..., -1:])
            channels = np.concatenate((channels, opacity), axis=2)
        return to_eight_bits(Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels))

    def _declared_levels(self) -> Levels:
        if not self.is_whole:
            raise ValueError("its floating-point pixels have no agreed range; save it with 8 or 16 bits")
        low, high = self.range
        if low < 0 or high > _SIXTEEN_BITS:
            raise ValueError("its 32-bit pixels have no agreed range; save it with 8 or 16 bits")
        return SIXTEEN_BITS


def decode(data: bytes, levels: Levels | None = None) -> Image.Image:
    """Decode an image file: first frame, upright, 8 bits, transparency over white.

    Args:
        data: Bytes of the file.
        levels: Range of an image with more than 8 bits; by default that of 16 bits.

    Returns:
        The image in mode "L" or "RGB".

    Raises:
        ValueError: The file is not an image in a known format, or its pixel values have no agreed range. Pillow
            raises many other types for malformed files.
    """
    image = load(data)
    return image.to_eight_bits(levels) if isinstance(image, DeepImage) else image


def load(data: bytes) -> Image.Image | DeepImage:
    """Decode an image file as :func:`decode` does, but leave more than 8 bits as they are where the decoder has them.

    Raises:
        ValueError: The file is not an image in a known format, or a pixel is not a finite number.
    """
    if not data:
        raise ValueError("it is empty (zero bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=_allowed(data)) as image:
            if _is_deep_png(data) and _has_deep_decoder():
                return _deep_png(data, image)
            if _is_deep_tiff(image) and (deep := _deep_tiff(data)) is not None:
                return deep
            image.load()
            upright = ImageOps.exif_transpose(image)
            if (deep := deep_image(upright)) is not None:
                return _checked(deep)
            converted = to_eight_bits(upright)
            converted.info[UPPER_BITS] = _is_deep_png(data) or _is_deep_tiff(image)
            return converted
    except UnidentifiedImageError as error:  # Pillow's message names a memory address
        # Pillow knows neither gray with transparency nor fractions in color.
        unknown = _deep_tiff(data) if image_format(data) == "TIFF" else None
        if unknown is not None:
            return _checked(unknown)
        raise ValueError(_why_unknown(data)) from error


def opened_format(data: bytes) -> str | None:
    """Return Pillow's name of the format of an image file; None if it is not known."""
    try:
        with Image.open(io.BytesIO(data), formats=_allowed(data)) as image:
            return image.format
    except (UnidentifiedImageError, ValueError, OSError):
        return None


def is_gray(image: Image.Image) -> bool:
    """Return whether every pixel has equal red, green and blue, however the image is stored."""
    if image.mode == "L":
        return True
    red, green, blue = (band.tobytes() for band in image.split())
    return red == green == blue


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to "L" or "RGB"; one of more than 8 bits from the range of 16 bits."""
    deep = deep_image(image)
    if deep is not None:
        return deep.to_eight_bits()
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image)
        return flat.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


# -- formats ---------------------------------------------------------------------------------------------------------


@cache
def _pillow_formats() -> tuple[str, ...]:
    return (*_FORMATS, *(name for name, feature in _OPTIONAL.items() if features.check(feature)))


def _allowed(data: bytes) -> tuple[str, ...]:
    """Return the formats that may decode these bytes; HEIC's decoder loads when the first such image is met."""
    if image_format(data) != "HEIC":
        return _pillow_formats()
    return ("HEIF",) if _has_heic() else ("PNG",)  # which refuses it


@cache
def _has_heic() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _why_unknown(data: bytes) -> str:
    """Return why no decoder takes a file."""
    found = image_format(data)
    if found == "HEIC" and not _has_heic():
        return "HEIC needs the extra heic: pip install 'samplescope[heic]'"
    if found in _OPTIONAL and found not in _pillow_formats():
        return f"the installed Pillow cannot read {found}: install a current one"
    if found is not None:
        return f"it is a damaged {found} file"
    kind = described(data)
    known = ", ".join(_pillow_formats())
    return f"it is {f'{kind}, ' if kind else ''}not an image in a known format ({known})"


# -- more than 8 bits ------------------------------------------------------------------------------------------------


def deep_image(image: Image.Image) -> DeepImage | None:
    """Return a gray image with more than 8 bits; None for one with 8."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    return DeepImage(np.asarray(image)[..., None])


def _checked(image: DeepImage) -> DeepImage:
    if not np.isfinite(image.pixels).all():
        raise ValueError("a pixel is not a finite number")
    return image


def _is_deep_png(data: bytes) -> bool:
    """Return whether this is a PNG of 16 bits with color or transparency, of which Pillow drops the lower 8 bits."""
    return image_format(data) == "PNG" and data[24:25] == b"\x10" and data[25:26] in (b"\x02", b"\x04", b"\x06")


def _is_deep_tiff(image: Image.Image) -> bool:
    return isinstance(image, TiffImageFile) and 16 in image.tag_v2.get(_BITS_PER_SAMPLE, ())


@cache
def _has_deep_decoder() -> bool:
    """Return whether torchvision still has the decoder of 16-bit PNG that it announced to drop."""
    try:
        from torchvision.io import decode_image  # noqa: F401
    except ImportError:
        return False
    return True


def _deep_png(data: bytes, opened: Image.Image) -> DeepImage:
    """Decode a 16-bit PNG that Pillow opened, and so found to be of a permitted size."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    warnings.filterwarnings("ignore", "The image decoding and encoding capabilities", DeprecationWarning)
    coded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels = decode_image(coded, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=False)
    except RuntimeError as error:
        raise ValueError(f"it is a damaged PNG file ({str(error).splitlines()[0]})") from error
    return DeepImage(_turned(pixels.permute(1, 2, 0).numpy(), opened.getexif().get(0x0112, 1)))


def _deep_tiff(data: bytes) -> DeepImage | None:
    """Decode a TIFF of more than 8 bits in gray or color; None if its compression or its colors are others."""
    import tifffile

    failures = (tifffile.TiffFileError, ValueError, RuntimeError, LookupError, TypeError, NotImplementedError)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            if page.imagewidth * page.imagelength > (Image.MAX_IMAGE_PIXELS or math.inf):
                return None
            pixels = page.asarray()
            orientation = page.tags.valueof(0x0112, default=1)
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
                pixels = np.moveaxis(pixels, 0, 2)
            channels = {int(tifffile.PHOTOMETRIC.MINISBLACK): 1, int(tifffile.PHOTOMETRIC.RGB): 3}
            colors = channels.get(page.photometric, 0)
            has_alpha = len(page.extrasamples) == 1 and page.extrasamples[0] > 0
    except (*failures, struct.error):
        return None  # for example LZW, which tifffile alone does not decode
    kinds = {"u2": np.uint16, "f2": np.float32, "f4": np.float32, "f8": np.float32}
    kind = kinds.get(pixels.dtype.str[1:])
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if not colors or kind is None or pixels.ndim != 3:
        return None
    pixels = pixels[..., : colors + (has_alpha and kind == np.uint16)]
    return DeepImage(_turned(pixels.astype(kind), orientation))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels ``[height, width, c]`` upright, from the orientation that EXIF gives."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
