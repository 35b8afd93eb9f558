"""IDX files, the format of MNIST and Fashion-MNIST, gzipped or not."""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import Examples, Listing
from attribution_core.errors import InputError

# How the names of a split's files begin.
PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}
_UNSIGNED_BYTE = 8


def recognizes(path: Path) -> bool:
    """Return whether this is a folder with training images in IDX format."""
    return path.is_dir() and _find(path, "train", "images", 3) is not None


def read(path: Path) -> Listing:
    """List the images of a folder with ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``.

    Test files begin with ``t10k-``; validation files, which exports write, with ``validation-``.

    Args:
        path: Folder of the files, which may end in ``.gz``.

    Returns:
        The images by split; each class is named by its number.

    Raises:
        InputError: A file is missing, damaged, or does not match its partner.
    """
    pairs = {split: _read_pair(path, prefix) for split, prefix in PREFIXES.items()}
    present = {split: pair for split, pair in pairs.items() if pair is not None}
    classes = np.unique(np.concatenate([labels for _, labels in present.values()]))
    parts = {}
    for split, (images, labels) in present.items():
        ids = [f"{split}-{row:06d}" for row in range(len(images))]
        sources = [ArrayImage(image) for image in images]
        parts[split] = Examples.without_groups(ids, sources, np.searchsorted(classes, labels))
    return Listing(parts, [str(value) for value in classes])


def read_array(path: Path, dimensions: int) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    Args:
        path: File, gzipped if it ends in ``.gz``.
        dimensions: 3 for images, 1 for labels.

    Returns:
        uint8, of the shape that the file's header states.

    Raises:
        InputError: The file is not such an array, or is shorter or longer than its header states.
    """
    header = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(header)
            known = len(head) == header and head[:4] == bytes((0, 0, _UNSIGNED_BYTE, dimensions))
            # In another kind of file, these bytes could be any size.
            shape = tuple(int(size) for size in np.frombuffer(head[4:], dtype=">u4")) if known else (0,)
            # One byte more than stated reveals a file that is too long, without unpacking the rest.
            body = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error, MemoryError, OverflowError) as error:  # a header may state any size
        raise InputError(f"{path} cannot be read as an IDX file ({error}): replace it.") from error
    if not known:
        raise InputError(
            f"{path} must be an IDX file of unsigned bytes in {dimensions} dimensions, which begins 00 00 08 "
            f"{dimensions:02}, but it {'begins ' + head[:4].hex(' ') if head else 'is empty'}: replace it."
        )
    if len(body) != math.prod(shape):
        amount = "more" if len(body) > math.prod(shape) else f"{len(body):,}"
        raise InputError(
            f"{path} must hold {math.prod(shape):,} bytes, because its header states {' x '.join(map(str, shape))}, "
            f"but it holds {amount}: download it again."
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the images ``[n, h, w]`` and labels ``[n]`` of one split; return None if neither file exists."""
    images_path, labels_path = _find(folder, prefix, "images", 3), _find(folder, prefix, "labels", 1)
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        missing = "images-idx3" if images_path is None else "labels-idx1"
        raise InputError(
            f"{images_path or labels_path} needs a file {prefix}-{missing}-ubyte beside it, but there is none: add it."
        )
    images, labels = read_array(images_path, 3), read_array(labels_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"There must be as many labels as images, but {images_path} has {len(images):,} images and {labels_path} "
            f"{len(labels):,} labels: use files from the same dataset."
        )
    return images, labels


def files_of(path: Path) -> list[Path]:
    """Return the files of a folder that are read."""
    kinds = (("images", 3), ("labels", 1))
    found = [_find(path, prefix, *kind) for prefix in PREFIXES.values() for kind in kinds]
    return [file for file in found if file is not None]


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path | None:
    """Return the file of this name, in which some copies have a dot before ``idx``; prefer unpacked to gzipped."""
    name = re.compile(rf"{prefix}-{kind}[-.]idx{dimensions}-ubyte(\.gz)?")
    return min((path for path in folder.iterdir() if name.fullmatch(path.name)), key=lambda p: p.name, default=None)
