"""Turn arrays of numbers, as frameworks hold images, into 8-bit pixels."""

import numpy as np

from attribution_core.errors import InputError

_CHANNELS = (1, 3)


def as_pixels(images: np.ndarray, what: str, *, largest: float, channels_first: bool = False) -> np.ndarray:
    """Convert images to 8-bit pixels.

    Args:
        images: uint8, other integers or floats, ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with ``c`` 1 or 3.
        what: Name of the images in messages.
        largest: Value of white in floats, 1 or 255; see :func:`white_level`.
        channels_first: Whether to take the first axis of an image as channels if the first and last both could be.

    Returns:
        uint8, ``[n, h, w]`` or ``[n, h, w, 3]``; the same memory if they have that form already.

    Raises:
        InputError: The shape or type is another, or a value is not finite or out of range.
    """
    images = _pixels_then_channels(images, what, channels_first)
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "iuf":
        raise InputError(
            f"{what} must hold numbers, but its type is {images.dtype}: convert it to uint8 from 0 to 255."
        )
    if images.dtype.kind != "f":
        largest = 255
    if images.size and not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= largest):
        raise InputError(
            f"{what} must hold numbers from 0 to {largest:g}, but it holds {_range(images)}: rescale them, and leave "
            "standardizing to SampleScope."
        )
    return np.rint(images * (255 / largest)).astype(np.uint8)


def white_level(*arrays: np.ndarray) -> float:
    """Return the value of white in all arrays: 1 if no number is above 1, otherwise 255."""
    tops = [float(np.nanmax(each)) for each in arrays if each.size and each.dtype.kind in "iuf"]
    return 1.0 if max(tops, default=0.0) <= 1 else 255.0


def _pixels_then_channels(images: np.ndarray, what: str, channels_first: bool) -> np.ndarray:
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


def _range(images: np.ndarray) -> str:
    if not np.isfinite(images).all():
        return "numbers that are not finite (NaN or infinite)"
    return f"numbers from {images.min():g} to {images.max():g}"
