"""IDX files, the form of MNIST and Fashion-MNIST, gzipped or not."""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import Examples, Listing
from attribution_core.errors import InputError

_PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}
_UNSIGNED_BYTE = 8


def recognizes(path: Path) -> bool:
    """Whether this is a folder with training images in IDX form."""
    return path.is_dir() and _find(path, "train", "images", 3) is not None


def read(path: Path) -> Listing:
    """Lists the images of a folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and others.

    These are ``t10k-`` for test and, as our exports have it, ``validation-``.

    Args:
        path: The folder. Files may end in ``.gz``.

    Returns:
        The images by split; classes are called by their numbers.

    Raises:
        InputError: If a file is missing, damaged, or does not fit its partner.
    """
    pairs = {split: _read_pair(path, prefix) for split, prefix in _PREFIXES.items()}
    present = {split: pair for split, pair in pairs.items() if pair is not None}
    classes = np.unique(np.concatenate([labels for _, labels in present.values()]))
    parts = {}
    for split, (images, labels) in present.items():
        ids = [f"{split}-{row:06d}" for row in range(len(images))]
        sources = [ArrayImage(image) for image in images]
        parts[split] = Examples.without_groups(ids, sources, np.searchsorted(classes, labels))
    return Listing(parts, [str(value) for value in classes])


def read_array(path: Path, dimensions: int) -> np.ndarray:
    """Reads one IDX file of unsigned bytes.

    Args:
        path: The file, gzipped if it ends in ``.gz``.
        dimensions: 3 for images, 1 for labels.

    Returns:
        uint8, of the shape that the file states.

    Raises:
        InputError: If the file is no such array, or is shorter or longer than it states.
    """
    header = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(header)
            known = len(head) == header and head[:4] == bytes((0, 0, _UNSIGNED_BYTE, dimensions))
            # Of another kind of file, these bytes could say any size.
            shape = tuple(int(size) for size in np.frombuffer(head[4:], dtype=">u4")) if known else (0,)
            # One byte more than stated shows a file that is too long, without unpacking whatever follows.
            body = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error, MemoryError, OverflowError) as error:  # a header may state any size
        raise InputError(f"An IDX file was expected, and {path} cannot be read: {error}.") from error
    if not known:
        raise InputError(
            f"An IDX file of unsigned bytes in {dimensions} dimensions was expected (it begins 00 00 08 "
            f"{dimensions:02}), and {path} begins {head[:4].hex(' ') or 'with nothing'}: replace it."
        )
    if len(body) != math.prod(shape):
        amount = "more" if len(body) > math.prod(shape) else f"{len(body):,}"
        raise InputError(
            f"{math.prod(shape):,} bytes were expected in {path} (its header states {' x '.join(map(str, shape))}), "
            f"and there are {amount}: download it again."
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images ``[n, h, w]`` and labels ``[n]`` of one split; None if neither file exists."""
    images_path, labels_path = _find(folder, prefix, "images", 3), _find(folder, prefix, "labels", 1)
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        missing = "images-idx3" if images_path is None else "labels-idx1"
        raise InputError(f"A file {prefix}-{missing}-ubyte was expected beside {images_path or labels_path}: add it.")
    images, labels = read_array(images_path, 3), read_array(labels_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"As many labels as images were expected, and {images_path} has {len(images):,} images and {labels_path} "
            f"{len(labels):,} labels: take both files from the same dataset."
        )
    return images, labels


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path | None:
    """The file of this name, which some copies write with a dot before ``idx``; unpacked before gzipped."""
    name = re.compile(rf"{prefix}-{kind}[-.]idx{dimensions}-ubyte(\.gz)?")
    return min((path for path in folder.iterdir() if name.fullmatch(path.name)), key=lambda p: p.name, default=None)
