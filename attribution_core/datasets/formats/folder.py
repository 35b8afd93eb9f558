"""Image folders: one subfolder for each class, with or without train, validation and test folders above them."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attribution_core.datasets.images import SUFFIXES, FileImage
from attribution_core.datasets.listing import SPLIT_NAMES, Examples, Listing, Unreadable
from attribution_core.errors import InputError


def recognizes(path: Path) -> bool:
    """Return whether this is a folder with subfolders."""
    return path.is_dir() and bool(_subfolders(path))


def read(path: Path) -> Listing:
    """List the images below the class folders, at any depth.

    Hidden files and files without an image's suffix are ignored. Symbolic links are followed only to files inside the
    dataset: a dataset that reaches outside its folder could be neither moved nor trusted.

    Args:
        path: Absolute path of the dataset's folder.

    Returns:
        The images by split; each id is the path within the folder.

    Raises:
        InputError: Two folders are the same split.
    """
    listing = Listing({}, [])
    roots = _split_folders(path, listing)
    found = {split: list(_class_files(path, root, listing)) for split, root in roots.items()}
    classes = {name for root in roots.values() for name in map(_normalize_path, _subfolders(root))}
    listing.class_names.extend(sorted(classes))
    position = {name: i for i, name in enumerate(listing.class_names)}
    for split, files in found.items():
        # Sorted by id, because the order decides which examples a seed draws and systems list files differently.
        rows = sorted((_identity(path, file), position[name], file) for name, file in files)
        listing.parts[split] = Examples.without_groups(
            [identity for identity, _, _ in rows],
            [FileImage(file) for _, _, file in rows],
            np.array([label for _, label, _ in rows]),
        )
    return listing


def _split_folders(path: Path, listing: Listing) -> dict[str, Path]:
    """Map each split to its folder. A folder called train without subfolders is not a split: it could be a class."""
    named: dict[str, Path] = {}
    others = []
    for name in _subfolders(path):
        split = SPLIT_NAMES.get(name.lower())
        if split is None or not _subfolders(path / name):
            others.append(name)
        elif split in named:
            raise InputError(
                f"{path} must have one folder for the {split} split, but it has {named[split].name} and {name}: rename "
                "one of them."
            )
        else:
            named[split] = path / name
    if not named:
        return {"train": path}
    listing.notes.extend(f"The folder {name} is not a split and was skipped." for name in others)
    for entry in _entries(path):
        if not entry.is_dir(follow_symlinks=False) and (refusal := _refusal(path, entry)):
            listing.unreadable.append(Unreadable(_identity(path, entry), refusal))
    return named


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def _subfolders(path: Path) -> list[str]:
    return [entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]


def _class_files(path: Path, root: Path, listing: Listing) -> Iterator[tuple[str, Path]]:
    """Yield (class name, file) for each image below the class folders in ``root``."""
    for entry in _entries(root):
        if entry.is_dir(follow_symlinks=False):
            for file in _walk(path, Path(entry.path), listing):
                yield _normalize_path(entry.name), file
        elif refusal := _refusal(path, entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), refusal))
        elif _is_image_name(entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), "it is not in a class folder"))


def _walk(path: Path, folder: Path, listing: Listing) -> Iterator[Path]:
    """Yield the image files below one class folder; add refused files to ``listing.unreadable``."""
    try:
        entries = _entries(folder)
    except OSError as error:
        listing.unreadable.append(Unreadable(_identity(path, folder), str(error.strerror)))
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, Path(entry.path), listing)
        elif refusal := _refusal(path, entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), refusal))
        elif _is_image_name(entry):
            yield Path(entry.path)


def _refusal(path: Path, entry: os.DirEntry[str]) -> str | None:
    """Return why a link or special file is not read; None for a regular file, or a link to one within the dataset."""
    if entry.is_file(follow_symlinks=False):
        return None
    try:
        target = Path(os.path.realpath(entry, strict=True))
        if target.is_dir():
            return "symbolic links to folders are not followed"
        if not target.is_relative_to(path):
            return "it is a symbolic link to a file outside the dataset's folder"
        # Opening a pipe would wait forever.
        return None if target.is_file() else "it is not a regular file"
    except OSError as error:
        return f"it is a broken symbolic link ({error.strerror})"


def _is_image_name(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in SUFFIXES


def _identity(path: Path, file: os.PathLike[str]) -> str:
    return _normalize_path(Path(file).relative_to(path).as_posix())


def _normalize_path(name: str) -> str:
    """Return a name in Unicode's composed form, with bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
