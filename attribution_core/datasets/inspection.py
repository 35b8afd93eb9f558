"""Check every image once when a dataset is opened: whether it can be decoded, its size, its colors and its range."""

import dataclasses
import hashlib
import itertools
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from attribution_core.datasets.decoding import UPPER_BITS, DeepImage, Levels, is_gray, load
from attribution_core.datasets.images import ImageSource
from attribution_core.datasets.listing import Examples
from attribution_core.progress import track

_CHUNK = 32  # images per task: a single image costs less than handing it to a thread
# Seconds for an image above which threads are faster; 4,000 of 28 x 28 pixels took 0.40 s in one thread, 0.77 s in two.
_WORTH_A_THREAD = 5e-4
_SAMPLE = 4096  # pixels whose quantiles are taken
_FEW_LEVELS = 16  # of 256; fewer are pointed out
_BESIDE_PIXELS = 1000  # bytes that an image takes beside its pixels
# Bytes of decoded images that are kept: all stages together read each image four times.
MOST_KEPT = 2**25


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The values of an image with more than 8 bits for each channel.

    Attributes:
        whole: Whether they are whole numbers.
        low: Smallest value.
        high: Largest value.
        most: The range of the middle 98%, of a sample of the pixels.
    """

    whole: bool
    low: float
    high: float
    most: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about an image: size, color, SHA-256 of its contents, and its range.

    The range is None for an image of 8 bits, whose black and white are known. ``upper_bits`` says that it had 16, of
    which only the upper 8 could be read. ``decoded`` is the image of 8 bits where it is kept.
    """

    height: int
    width: int
    gray: bool
    digest: bytes
    values: ValueRange | None = None
    upper_bits: bool = False
    decoded: Image.Image | None = dataclasses.field(default=None, compare=False, repr=False)


def inspect(
    images: list[ImageSource],
) -> list[ImageFacts | str]:
    """Decode each image once, and keep the decoded images if all of them take up to ``MOST_KEPT`` bytes.

    Args:
        images: The ``n`` images.

    Returns:
        The facts about each image, or the reason why it cannot be read.
    """
    found: list[ImageFacts | str] = []
    held, kept = 0, True
    for fact in track(inspected(images), len(images), "checking images"):
        held += _bytes_of(fact)
        if kept and held > MOST_KEPT:
            kept, found = False, [without_image(one) for one in found]
        found.append(fact if kept else without_image(fact))
    return found


def inspected(images: Sequence[ImageSource]) -> Iterator[ImageFacts | str]:
    """Decode each image once.

    Args:
        images: The ``n`` images.

    Yields:
        The facts about each image, or the reason why it cannot be read, in order and as they are found.
    """
    chunks = [images[start : start + _CHUNK] for start in range(_CHUNK, len(images), _CHUNK)]
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Pillow only warns below twice its pixel limit, but one image of 100 megapixels fills memory too.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        started = time.perf_counter()
        first = _inspect_chunk(images[:_CHUNK])
        seconds = (time.perf_counter() - started) / max(1, len(first))
        # Decoders release the interpreter lock, so threads are enough; where they take less, threads wait for it.
        apply = pool.map if seconds > _WORTH_A_THREAD else map
        try:
            yield from first
            yield from itertools.chain.from_iterable(apply(_inspect_chunk, chunks))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole dataset


def _bytes_of(found: ImageFacts | str) -> int:
    if isinstance(found, str) or found.decoded is None:
        return 0
    return found.height * found.width * len(found.decoded.mode) + _BESIDE_PIXELS


def without_image(found: ImageFacts | str) -> ImageFacts | str:
    """Return what was found about an image, without its pixels."""
    return found if isinstance(found, str) else dataclasses.replace(found, decoded=None)


def with_levels(
    parts: dict[str, Examples], facts: dict[str, list[ImageFacts]]
) -> tuple[dict[str, Examples], list[str]]:
    """Give all images with more than 8 bits the one range of values that they use together.

    Whole numbers share a range, and so do floating-point numbers. All splits count, so that no test image is cut off.

    Args:
        parts: Readable examples by split.
        facts: Facts about each of them.

    Returns:
        The examples with their ranges, and notes that name the ranges.
    """
    notes = []
    for whole in (True, False):
        ranges = [fact.values for each in facts.values() for fact in each if _is_deep(fact, whole)]
        if not ranges:
            continue
        levels = Levels.of([(each.low, each.high) for each in ranges if each], whole)
        parts = {
            split: dataclasses.replace(
                part,
                images=[
                    dataclasses.replace(image, levels=levels) if _is_deep(fact, whole) else image  # type: ignore[type-var]
                    for image, fact in zip(part.images, facts[split], strict=True)
                ],
            )
            for split, part in parts.items()
        }
        notes.append(_note_on_levels([each for each in ranges if each], levels, whole))
    cut = sum(fact.upper_bits for each in facts.values() for fact in each)
    if cut:
        have = "1 color image has" if cut == 1 else f"{cut:,} color images have"
        notes.append(
            f"{have} 16 bits for each channel, of which only the upper 8 are read; in PNG files, and in "
            "TIFF files without LZW compression, all are."
        )
    return parts, notes


def _is_deep(fact: ImageFacts, whole: bool) -> bool:
    return fact.values is not None and fact.values.whole == whole


def _note_on_levels(ranges: list[ValueRange], levels: Levels, whole: bool) -> str:
    kind = "more than 8 bits for each channel" if whole else "floating-point pixels"
    have = "1 image has" if len(ranges) == 1 else f"{len(ranges):,} images have"
    note = f"{have} {kind}: the values {levels} become black to white, in 256 levels"
    low, high = min(each.most[0] for each in ranges), max(each.most[1] for each in ranges)
    left = round((high - low) / (levels.high - levels.low) * 255) + 1
    few = f", of which 98% of the pixels use only {left}: clip the outliers in the files to keep more"
    return note + (few if left < _FEW_LEVELS else "") + "."


def facts_of_row(source: ImageSource) -> ImageFacts:
    """Return the facts about a text or a table row: only its digest."""
    return ImageFacts(0, 0, gray=True, digest=hashlib.sha256(source.encoded() or b"").digest())


def _inspect_chunk(images: Sequence[ImageSource]) -> list[ImageFacts | str]:
    return [_facts_or_reason(image) for image in images]


def _facts_or_reason(source: ImageSource) -> ImageFacts | str:
    try:
        data = source.encoded()
        image = source.decoded() if data is None else load(data)
    except Exception as error:  # noqa: BLE001 -- Pillow raises almost any type for malformed files; the reason is kept
        return str(error) or type(error).__name__
    if isinstance(image, DeepImage):
        return _facts_of_deep(image, hashlib.sha256(data or b"").digest())
    digest = hashlib.sha256(data if data is not None else repr(image.size).encode() + image.tobytes()).digest()
    cut = bool(image.info.get(UPPER_BITS))
    return ImageFacts(image.height, image.width, is_gray(image), digest, upper_bits=cut, decoded=image)


def _facts_of_deep(image: DeepImage, digest: bytes) -> ImageFacts:
    height, width = image.pixels.shape[:2]
    colors = image.colors
    gray = bool((colors == colors[..., :1]).all())
    low, high = image.range
    sample = colors.reshape(-1)[:: max(1, colors.size // _SAMPLE)]
    first, last = np.quantile(sample, (0.01, 0.99))
    return ImageFacts(height, width, gray, digest, ValueRange(image.is_whole, low, high, (float(first), float(last))))
