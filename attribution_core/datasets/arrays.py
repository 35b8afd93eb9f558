"""Arrays of numbers, as frameworks hold images, to 8-bit pixels."""

import numpy as np

from attribution_core.errors import InputError

_CHANNELS = (1, 3)


def as_pixels(images: np.ndarray, what: str, *, largest: float, channels_first: bool = False) -> np.ndarray:
    """Images as pixels.

    Args:
        images: uint8, other integers or floats, ``[n, h, w]``, or with 1 or 3 channels behind that or before it.
        what: How a message calls them.
        largest: What stands for white in floats: 1 or 255; see :func:`white_level`.
        channels_first: Where both the first and the last axis of an image could be channels, take the first.

    Returns:
        uint8, ``[n, h, w]`` or ``[n, h, w, 3]``; the same memory where they are so already.

    Raises:
        InputError: Other shapes, other types, values that are no numbers or beyond the range.
    """
    images = _pixels_then_channels(images, what, channels_first)
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "iuf":
        raise InputError(
            f"Numbers were expected in {what}, and they are {images.dtype}: make them uint8 from 0 to 255."
        )
    if images.dtype.kind != "f":
        largest = 255
    if images.size and not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= largest):
        raise InputError(
            f"Numbers from 0 to {largest:g} were expected in {what}, and there are {_range(images)}: scale them so, "
            "and leave standardising to SampleScope."
        )
    return np.rint(images * (255 / largest)).astype(np.uint8)


def white_level(*arrays: np.ndarray) -> float:
    """What stands for white in all of them: 1 where no number is above it, else 255."""
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
        f"Images of height x width, with 1 or 3 channels behind or before, were expected in {what}, and they are "
        f"{shape}: arrange them so."
    )


def _range(images: np.ndarray) -> str:
    if not np.isfinite(images).all():
        return "some that are not finite (NaN or infinite)"
    return f"some from {images.min():g} to {images.max():g}"
