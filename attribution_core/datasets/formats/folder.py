"""An image folder: one subfolder for each class, with or without train, validation and test above them."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attribution_core.datasets.images import SUFFIXES, FileImage
from attribution_core.datasets.listing import SPLIT_NAMES, Examples, Listing, Unreadable
from attribution_core.errors import InputError


def recognizes(path: Path) -> bool:
    """Whether this is a folder with subfolders."""
    return path.is_dir() and bool(_subfolders(path))


def read(path: Path) -> Listing:
    """Lists the images below the class folders, at any depth.

    Hidden files and files that are not called like an image are passed over. Symbolic links are followed only to
    files inside the dataset: a dataset that reaches out of its folder could neither be moved nor trusted.

    Args:
        path: The dataset's folder, an absolute path.

    Returns:
        The images by split; an id is the path within the folder.

    Raises:
        InputError: If two folders are the same split.
    """
    listing = Listing({}, [])
    roots = _split_folders(path, listing)
    found = {split: list(_class_files(path, root, listing)) for split, root in roots.items()}
    classes = {name for root in roots.values() for name in map(_normal, _subfolders(root))}
    listing.class_names.extend(sorted(classes))
    position = {name: i for i, name in enumerate(listing.class_names)}
    for split, files in found.items():
        # Sorted by id, not as the system lists them: the order decides which examples a seed draws.
        rows = sorted((_identity(path, file), position[name], file) for name, file in files)
        listing.parts[split] = Examples.without_groups(
            [identity for identity, _, _ in rows],
            [FileImage(file) for _, _, file in rows],
            np.array([label for _, label, _ in rows]),
        )
    return listing


def _split_folders(path: Path, listing: Listing) -> dict[str, Path]:
    """Split -> its folder. A folder called train is a split only if it has subfolders: it could be a class."""
    named: dict[str, Path] = {}
    others = []
    for name in _subfolders(path):
        split = SPLIT_NAMES.get(name.lower())
        if split is None or not _subfolders(path / name):
            others.append(name)
        elif split in named:
            raise InputError(
                f"One folder for the {split} split was expected in {path}, and there are {named[split].name} and "
                f"{name}: rename one."
            )
        else:
            named[split] = path / name
    if not named:
        return {"train": path}
    listing.notes.extend(f"The folder {name} is no split: it was left out." for name in others)
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
    """(class name, file) of each image below the class folders in ``root``."""
    for entry in _entries(root):
        if entry.is_dir(follow_symlinks=False):
            for file in _walk(path, Path(entry.path), listing):
                yield _normal(entry.name), file
        elif refusal := _refusal(path, entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), refusal))
        elif _is_image_name(entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), "it lies in no class folder"))


def _walk(path: Path, folder: Path, listing: Listing) -> Iterator[Path]:
    """The image files below one class folder; what is refused goes to ``listing.unreadable``."""
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
    """Why a link or special file is not read; None for an ordinary file, or a link to one within the dataset."""
    if entry.is_file(follow_symlinks=False):
        return None
    try:
        target = Path(os.path.realpath(entry, strict=True))
        if target.is_dir():
            return "symbolic links to folders are not followed"
        if not target.is_relative_to(path):
            return "it is a symbolic link that leaves the dataset's folder"
        # Opening a pipe would wait for ever.
        return None if target.is_file() else "it is not a regular file"
    except OSError as error:
        return f"it is a symbolic link that leads nowhere ({error.strerror})"


def _is_image_name(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in SUFFIXES


def _identity(path: Path, file: os.PathLike[str]) -> str:
    return _normal(Path(file).relative_to(path).as_posix())


def _normal(name: str) -> str:
    """NFC, which some systems turn names into and others do not; bytes that are no UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
