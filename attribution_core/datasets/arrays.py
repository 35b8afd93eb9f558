"""Turn arrays of numbers, as frameworks hold images, into 8-bit pixels."""

from collections.abc import Iterable

import numpy as np

from attribution_core.datasets.decoding import Levels
from attribution_core.errors import InputError

_CHANNELS = (1, 3)
_BLOCK = 1 << 24  # numbers that are converted at once


def as_pixels(
    images: np.ndarray, what: str, *, largest: float, levels: Levels | None = None, channels_first: bool = False
) -> np.ndarray:
    """Convert images to 8-bit pixels.

    Args:
        images: uint8, other integers or floats, ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with ``c`` 1 or 3.
        what: Name of the images in messages.
        largest: Value of white in floats, 1 or 255; see :func:`white_level`.
        levels: Black and white of whole numbers other than uint8; see :func:`levels_of`. By default 0 and 255.
        channels_first: Whether to take the first axis of an image as channels if the first and last both could be.

    Returns:
        uint8, ``[n, h, w]`` or ``[n, h, w, 3]``; the same memory if they have that form already.

    Raises:
        InputError: The shape or type is another, or a value is not finite or out of range.
    """
    images = pixels_then_channels(images, what, channels_first)
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "iuf":
        raise InputError(
            f"{what} must hold numbers, but its type is {images.dtype}: convert it to uint8 from 0 to 255."
        )
    if images.dtype.kind == "f":
        _refuse_other_floats(images, what, largest)
    levels = levels or Levels(0, 255)
    pixels = np.empty(images.shape, dtype=np.uint8)
    step = max(1, _BLOCK // max(1, images[:1].size))
    for start in range(0, len(images), step):
        part = images[start : start + step]
        if images.dtype.kind == "f":  # float16 would round to fewer levels
            part = np.rint(part.astype(np.result_type(part, np.float32), copy=False) * (255 / largest))
        else:
            part = levels.to_eight_bits(part)
        pixels[start : start + step] = part
    return pixels


def white_level(*arrays: np.ndarray) -> float:
    """Return the value of white in all arrays: 1 if no number is above 1, otherwise 255."""
    tops = [float(np.nanmax(each)) for each in arrays if each.size and each.dtype.kind in "iuf"]
    return 1.0 if max(tops, default=0.0) <= 1 else 255.0


def levels_of(arrays: Iterable[np.ndarray]) -> Levels | None:
    """Return black and white of all images of whole numbers beyond 0 to 255, as of image files; None without such."""
    ranges = [(float(each.min()), float(each.max())) for each in arrays if is_deep(each) and each.size]
    if not any(low < 0 or high > 255 for low, high in ranges):
        return None
    return Levels.of(ranges, whole=True)


def is_deep(images: np.ndarray) -> bool:
    """Return whether images are whole numbers that may be beyond 0 to 255."""
    return images.dtype.kind in "iu" and images.dtype != np.uint8


def note_on_levels(levels: Levels) -> str:
    """Return the sentence that says what became black and white."""
    return f"The pixels are whole numbers beyond 0 to 255: the values {levels} become black to white, in 256 levels."


def pixels_then_channels(images: np.ndarray, what: str, channels_first: bool = False) -> np.ndarray:
    """Return images with channels last, ``[n, h, w]`` or ``[n, h, w, 3]``; arguments are those of :func:`as_pixels`."""
    if images.ndim == 3 and 0 not in images.shape[1:]:
        return images
    if images.ndim == 4 and 0 not in images.shape[1:]:
        first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
        if first and (channels_first or not last):
            images = np.moveaxis(images, 1, 3)
        if first or last:
            return images[..., 0] if images.shape[3] == 1 else images
    shape = " x ".join(map(str, images.shape[1:])) or "single numbers"
    raise InputError(
        f"{what} must hold images of height x width, with 1 or 3 channels last or first, but they are {shape}: "
        "rearrange the axes."
    )


def _refuse_other_floats(images: np.ndarray, what: str, largest: float) -> None:
    if not images.size:
        return
    finite = np.isfinite(images)
    if not finite.all():
        row, *place = (int(each[0]) for each in np.nonzero(~finite))
        found = images[(row, *place)]
        image = "" if len(images) == 1 else f" in image {row}"
        raise InputError(
            f"{what} must hold finite numbers, but holds {found}{image} at {' x '.join(map(str, place))}: numbers that "
            "are not finite (NaN or infinite) are no pixels, so replace them or leave the image out."
        )
    if images.min() < 0 or images.max() > largest:
        raise InputError(
            f"{what} must hold numbers from 0 to {largest:g}, but it holds numbers from {images.min():g} to "
            f"{images.max():g}: rescale them, and leave standardizing to SampleScope."
        )
