"""Thumbnails, packed into two files for each split, so that a tile of the app takes one read.

``SPLIT.bin`` holds the encoded images end to end, ``SPLIT.npy`` their int64 offsets, ``[n + 1]``.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from PIL import Image

from attribution_core.errors import InputError
from attribution_core.progress import track
from attribution_core.runs.files import written_atomically
from attribution_core.runs.image_statistics import ImageStatistics, image_statistics
from attribution_core.runs.names import thumbnail_files

LONGEST_SIDE = 128
LOSSLESS_SIDE = 64  # up to this size every pixel counts, and a PNG is small
_CHUNK = 32  # images per task: a single image costs less than handing it to a thread


class Images(Protocol):
    """Images by row of a table, such as a list; rows may be read from several threads at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Image.Image: ...


def encode_thumbnail(image: Image.Image) -> tuple[bytes, ImageStatistics]:
    """Shrink an image to at most 128 pixels a side and encode it: as PNG up to 64 pixels a side, as WebP above.

    Returns:
        The encoded thumbnail, and the statistics of the image.
    """
    original = image
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    if max(image.size) > LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "WEBP", quality=85)
    return buffer.getvalue(), image_statistics(original, image)


def write_pack(run: Path, split: str, images: Images) -> pd.DataFrame:
    """Write the thumbnails of one split, made by a thread for each core: decoders release the interpreter lock.

    Args:
        run: The run's directory.
        split: ``"train"`` or ``"evaluation"``.
        images: The images, in the order of the split's table.

    Returns:
        Columns row and those of :class:`ImageStatistics`, in the order of the images.
    """
    data, index = (run / name for name in thumbnail_files(split))
    offsets, statistics = [0], []
    with written_atomically(data) as partial, partial.open("wb") as file:
        for encoded, found in track(_encoded(images), len(images), f"thumbnails ({split})"):
            offsets.append(offsets[-1] + file.write(encoded))
            statistics.append(found)
    with written_atomically(index) as partial, partial.open("wb") as file:
        np.save(file, np.asarray(offsets, dtype=np.int64), allow_pickle=False)
    return pd.DataFrame(statistics, columns=ImageStatistics._fields).rename_axis("row").reset_index()


def _encoded(images: Images) -> Iterator[tuple[bytes, ImageStatistics]]:
    """Yield the thumbnails in order, and the statistics of the images."""

    def of_rows(start: int) -> list[tuple[bytes, ImageStatistics]]:
        return [encode_thumbnail(images[row]) for row in range(start, min(start + _CHUNK, len(images)))]

    with ThreadPoolExecutor() as pool:
        try:
            yield from itertools.chain.from_iterable(pool.map(of_rows, range(0, len(images), _CHUNK)))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole dataset


class Pack:
    """Reader of the thumbnails of one split; threads can share it."""

    def __init__(self, run: Path, split: str) -> None:
        self._data, self._index = (run / name for name in thumbnail_files(split))

    @cached_property
    def _offsets(self) -> np.ndarray:
        try:
            offsets = np.load(self._index, allow_pickle=False)
            whole = int(offsets[-1]) == self._data.stat().st_size
        except (OSError, ValueError, IndexError) as error:
            raise InputError(f"The thumbnails of this run cannot be read ({error}): score the data again.") from error
        if not whole:
            raise InputError(f"{self._data} does not match its index: score the data again to write both.")
        return offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> tuple[bytes, str]:
        """Return the encoded image of a row and its media type.

        Raises:
            IndexError: If there is no such row.
            InputError: If the file is missing or cannot be read.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        try:
            with self._data.open("rb") as file:
                file.seek(start)
                data = file.read(end - start)
        except OSError as error:  # the run was deleted or moved while a page was open
            raise InputError(f"The thumbnails of this run cannot be read ({error}): score the data again.") from error
        return data, "image/png" if data.startswith(b"\x89PNG") else "image/webp"
