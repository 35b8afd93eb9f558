r"""Text files: one folder for each class, or one file for each class with a text on each line.

``positive/0001.txt`` is one text; ``positive.txt`` beside ``negative.txt`` holds one text on each line. Either may be
inside folders of splits, such as train, validation and test. A line ends with ``\n``, so that other separators within a
text, such as U+2028, do not break it. Files beside class folders, and files of another kind, are left out and listed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution_core.datasets.file_kinds import SUFFIXES
from attribution_core.datasets.formats.delimited import decode, split_lines
from attribution_core.datasets.formats.tables import Text
from attribution_core.datasets.listing import Examples, Listing, Unreadable, normalize_name
from attribution_core.datasets.split_names import splits_of_folders
from attribution_core.errors import InputError

_SUFFIX = ".txt"
_ABOUT = {"readme", "license", "licence", "copying", "notice", "authors", "changelog"}  # files that are no class
_MOST_CLASSES = 100  # files that may each hold the texts of a class


@dataclass(frozen=True, slots=True)
class _File:
    """A file below the folder of a split.

    Attributes:
        path: Where it is.
        name: Its class.
        by_line: Whether each of its lines is a text.
        why_not: Why it is left out; empty for a file of texts.
    """

    path: Path
    name: str = ""
    by_line: bool = False
    why_not: str = ""


def recognizes(path: Path) -> bool:
    """Return whether this is a folder whose class folders or files hold texts and no images."""
    if not path.is_dir():
        return False
    # Images are found at once if there are any; finding no text takes a look at every file.
    if any(map(_holds_images, _named_after_splits(path))):
        return False
    roots = _split_folders(path)
    return not any(map(_holds_images, roots)) and any(map(_holds_texts, roots))


def _holds_images(root: Path) -> bool:
    files = (file for entry in root.iterdir() if entry.is_dir() for file in entry.rglob("*"))
    return any(file.suffix.lower() in SUFFIXES and not file.name.startswith(".") for file in files)


def _holds_texts(root: Path) -> bool:
    return any(not file.why_not for file in _files_of(root))


def read(path: Path) -> Listing:
    """List the texts; files that are empty or cannot be read are skipped and listed.

    Links are followed only to files inside the dataset.

    Args:
        path: Absolute path of the dataset's folder.

    Returns:
        The texts by split, of kind "text"; each id is the path within the folder, with the line number if the file
        holds a class.

    Raises:
        InputError: Two folders are the same split, or there are more files than classes.
    """
    roots = _split_folders(path)
    names = {split: root.name for root, split in roots.items() if root != path}
    listing = Listing({}, [], kind="text", split_names=names)
    found = {split: list(_texts(path, root, listing)) for root, split in roots.items()}
    listing.unreadable.extend(_outside(path, roots))
    listing.class_names.extend(sorted({name for texts in found.values() for _, name, _ in texts}))
    position = {name: i for i, name in enumerate(listing.class_names)}
    for split, texts in found.items():
        texts.sort()  # the order decides which examples a seed draws, and systems list files differently
        labels = np.array([position[name] for _, name, _ in texts], dtype=np.int64)
        sources: list[Any] = [Text(text) for _, _, text in texts]
        listing.parts[split] = Examples.without_groups([identity for identity, _, _ in texts], sources, labels)
    return listing


def _split_folders(path: Path) -> dict[Path, str]:
    named = _named_after_splits(path)
    return named if any(map(_holds_texts, named)) else {path: "train"}


def _named_after_splits(path: Path) -> dict[Path, str]:
    names = [entry.name for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    return {path / name: split for name, split in splits_of_folders(names, str(path)).items()}


def _outside(path: Path, roots: dict[Path, str]) -> Iterator[Unreadable]:
    """Yield the files that are in no folder of a split."""
    if path in roots:
        return
    for entry in sorted(path.iterdir()):
        for file in sorted(entry.rglob("*")) if entry.is_dir() and entry not in roots else [entry]:
            if not (file.is_dir() or _is_hidden(file, path)):
                yield Unreadable(_identity(path, file), "it is outside the folders of the splits")


def _files_of(root: Path) -> Iterator[_File]:
    """Yield the files below the folder of a split: those in class folders, else those that each hold a class."""
    entries = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
    in_folders = False
    for entry in entries:
        for file in sorted(entry.rglob("*")) if entry.is_dir() else ():
            if file.is_dir() or _is_hidden(file, root):
                continue
            is_text = file.suffix.lower() == _SUFFIX
            in_folders = in_folders or is_text
            yield _File(file, entry.name, why_not="" if is_text else f"it is no {_SUFFIX} file")
    for entry in entries:
        if entry.is_dir():
            continue
        is_text = entry.suffix.lower() == _SUFFIX
        if in_folders:
            why_not = "it is beside the class folders"
        elif is_text and entry.stem.lower() in _ABOUT:
            why_not = "its name is that of no class"
        else:
            why_not = "" if is_text else f"it is no {_SUFFIX} file"
        yield _File(entry, entry.stem, by_line=True, why_not=why_not)


def _texts(path: Path, root: Path, listing: Listing) -> Iterator[tuple[str, str, str]]:
    """Yield the id, class and text of each example."""
    files = list(_files_of(root))
    classes = sum(file.by_line and not file.why_not for file in files)
    if classes > _MOST_CLASSES:
        raise InputError(
            f"{root} must have a folder of text files for each class, or one file for each class, but it has no such "
            f"folder and {classes:,} files: put them into class folders."
        )
    for file in files:
        where = _identity(path, file.path)
        why_not, text = (file.why_not, "") if file.why_not else _read(path, file.path)
        if why_not:
            listing.unreadable.append(Unreadable(where, why_not))
            continue
        pieces = [(f"{where}:{number}", line) for number, line in enumerate(split_lines(text), 1)]
        found = [(i, piece.strip()) for i, piece in (pieces if file.by_line else [(where, text)]) if piece.strip()]
        if not found:
            listing.unreadable.append(Unreadable(where, "it has no text"))
        for identity, piece in found:
            yield identity, normalize_name(file.name), piece


def _read(path: Path, file: Path) -> tuple[str, str]:
    """Return why a file cannot be read, and its text."""
    try:
        if not file.resolve().is_relative_to(path):
            return "it is a link to a file outside the dataset", ""
        return "", decode(file.read_bytes(), file)[0]
    except InputError:
        return "it is not UTF-8", ""
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link to itself
        return str(error), ""


def _identity(path: Path, file: Path) -> str:
    return normalize_name(file.relative_to(path).as_posix())


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)
