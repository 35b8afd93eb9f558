"""Check every image once when a dataset is opened: whether it can be decoded, its size, and whether it is gray."""

import hashlib
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from attribution_core.datasets.images import ImageSource, decode, is_gray
from attribution_core.progress import track

_CHUNK = 32  # images per task: a single image costs less than handing it to a thread


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about an image that are kept without its pixels: size, color, and SHA-256 of its contents."""

    height: int
    width: int
    gray: bool
    digest: bytes


def inspect(
    images: list[ImageSource],
) -> list[ImageFacts | str]:
    """Decode each image once.

    Args:
        images: The ``n`` images.

    Returns:
        The facts about each image, or the reason why it cannot be read.
    """
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    # Decoders release the interpreter lock, so threads are enough.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Pillow only warns below twice its pixel limit, but one image of 100 megapixels fills memory too.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = itertools.chain.from_iterable(pool.map(_inspect_chunk, chunks))
        try:
            return list(track(results, len(images), "checking images"))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole dataset


def facts_of_row(source: ImageSource) -> ImageFacts:
    """Return the facts about a text or a table row: only its digest."""
    return ImageFacts(0, 0, gray=True, digest=hashlib.sha256(source.encoded() or b"").digest())


def _inspect_chunk(images: list[ImageSource]) -> list[ImageFacts | str]:
    return [_facts_or_reason(image) for image in images]


def _facts_or_reason(source: ImageSource) -> ImageFacts | str:
    try:
        data = source.encoded()
        image = source.decoded() if data is None else decode(data)
    except Exception as error:  # noqa: BLE001 -- Pillow raises almost any type for malformed files; the reason is kept
        return str(error) or type(error).__name__
    digest = hashlib.sha256(data if data is not None else repr(image.size).encode() + image.tobytes()).digest()
    return ImageFacts(image.height, image.width, is_gray(image), digest)
