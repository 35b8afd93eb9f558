"""The original of an example's picture: the image file that it was read from, where that still lies."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from attribution_core.datasets.decoding import decode, opened_format
from attribution_core.errors import InputError
from attribution_core.runs.store import Run, SplitName

_LARGEST = 64 << 20  # bytes of a file
_MOST_PIXELS = 89_478_485  # as many as Pillow opens without a warning
# Formats that browsers show, as they are; others become PNG.
_SHOWN = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "BMP": "image/bmp"}


def original_file(run: Run, split: SplitName, row: int) -> Path | None:
    """Return the file that an example's picture was read from, or None if the run cannot know it or it is gone.

    The ids of a folder's images are their paths within it. A path or a link that leads outside is no file of
    the dataset.

    Args:
        run: The run.
        split: The table of the example.
        row: Its position there.

    Raises:
        IndexError: If there is no such row.
        InputError: If the table is missing or damaged.
    """
    table = run.examples if split == "train" else run.evaluation
    name = str(table["id"].iloc[row])
    dataset = run.manifest.dataset
    if dataset is None or not dataset.location or dataset.mode in ("text", "table"):
        return None
    try:
        folder = Path(dataset.location).resolve()
        file = (folder / name).resolve()
        return file if file.is_relative_to(folder) and folder.is_dir() and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a null byte, a link to itself
        return None


def original_picture(run: Run, split: SplitName, row: int) -> tuple[bytes, str]:
    """Return the original of an example's picture for a browser, and its media type.

    Args:
        run: The run.
        split: The table of the example.
        row: Its position there.

    Raises:
        IndexError: If there is no such row.
        InputError: If there is no original, it is too large, or it is not an image in a known format.
    """
    file = original_file(run, split, row)
    if file is None:
        raise InputError("The file of this picture is not in the dataset's folder any more, or there never was one.")
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise InputError(f"{file} is too large to show ({size >> 20:,} MiB): at most {_LARGEST >> 20} are read.")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"The image {file} cannot be read: {error.strerror}.") from error
    try:
        return _for_browsers(data)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} cannot be shown: {error}.") from error


def _for_browsers(data: bytes) -> tuple[bytes, str]:
    """Return an image file as it is if browsers show its format, which its content tells, else as PNG."""
    kind = opened_format(data)
    if kind is None:
        raise ValueError("it is not an image in a known format")
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
    if kind in _SHOWN:
        return data, _SHOWN[kind]
    buffer = io.BytesIO()
    decode(data).save(buffer, "PNG")
    return buffer.getvalue(), "image/png"
