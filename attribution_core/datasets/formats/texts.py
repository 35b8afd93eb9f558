"""Text files: one folder for each class, or one file for each class with a text on each line.

``positive/0001.txt`` is one text; ``positive.txt`` beside ``negative.txt`` holds one text on each line. Either may be
inside folders called train, validation and test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attribution_core.datasets.formats.tables import Text
from attribution_core.datasets.images import SUFFIXES
from attribution_core.datasets.listing import SPLIT_NAMES, Examples, Listing, Unreadable, normalize_name

_SUFFIX = ".txt"


def recognizes(path: Path) -> bool:
    """Return whether this is a folder whose class folders or files hold texts and no images."""
    if not path.is_dir():
        return False
    # Images are found at once if there are any; finding no text takes a look at every file.
    if any(map(_holds_images, _named_after_splits(path).values())):
        return False
    roots = _split_folders(path).values()
    return not any(map(_holds_images, roots)) and any(any(_files_of(root)) for root in roots)


def _holds_images(root: Path) -> bool:
    files = (file for entry in root.iterdir() if entry.is_dir() for file in entry.rglob("*"))
    return any(file.suffix.lower() in SUFFIXES and not file.name.startswith(".") for file in files)


def read(path: Path) -> Listing:
    """List the texts; files that are empty or cannot be read are skipped and listed.

    Links are followed only to files inside the dataset.

    Args:
        path: Absolute path of the dataset's folder.

    Returns:
        The texts by split, of kind "text"; each id is the path within the folder, with the line number if the file
        holds a class.
    """
    listing = Listing({}, [], kind="text")
    found = {split: list(_texts(path, root, listing)) for split, root in _split_folders(path).items()}
    listing.class_names.extend(sorted({name for texts in found.values() for _, name, _ in texts}))
    position = {name: i for i, name in enumerate(listing.class_names)}
    for split, texts in found.items():
        texts.sort()  # the order decides which examples a seed draws, and systems list files differently
        labels = np.array([position[name] for _, name, _ in texts], dtype=np.int64)
        sources: list[Any] = [Text(text) for _, _, text in texts]
        listing.parts[split] = Examples.without_groups([identity for identity, _, _ in texts], sources, labels)
    return listing


def _split_folders(path: Path) -> dict[str, Path]:
    named = _named_after_splits(path)
    return named if any(any(_files_of(root)) for root in named.values()) else {"train": path}


def _named_after_splits(path: Path) -> dict[str, Path]:
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    return {SPLIT_NAMES[each.name.lower()]: each for each in folders if each.name.lower() in SPLIT_NAMES}


def _files_of(root: Path) -> Iterator[tuple[str, Path, bool]]:
    """Yield the class, the file, and whether each of its lines is a text."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            for file in sorted(entry.rglob(f"*{_SUFFIX}")):
                if not file.name.startswith("."):
                    yield entry.name, file, False
        elif entry.suffix.lower() == _SUFFIX:
            yield entry.stem, entry, True


def _texts(path: Path, root: Path, listing: Listing) -> Iterator[tuple[str, str, str]]:
    """Yield the id, class and text of each example."""
    for name, file, by_line in _files_of(root):
        where = normalize_name(file.relative_to(path).as_posix())
        try:
            if not file.resolve().is_relative_to(path):
                raise ValueError("it is a link to a file outside the dataset")
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link to itself
            listing.unreadable.append(Unreadable(where, _why(error)))
            continue
        pieces = [(f"{where}:{number}", line) for number, line in enumerate(text.splitlines(), 1)] if by_line else []
        found = [(i, piece.strip()) for i, piece in pieces or [(where, text)] if piece.strip()]
        if not found:
            listing.unreadable.append(Unreadable(where, "it has no text"))
        for identity, piece in found:
            yield identity, normalize_name(name), piece


def _why(error: Exception) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
