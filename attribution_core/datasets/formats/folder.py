"""Image folders: one subfolder for each class, with or without folders for the splits above or below them.

Splits may be outside (``train/cat``), inside (``cat/train``) or missing (``cat``), and one folder may lie around it
all, as archives unpack. A folder with the name of a split is one only if it has class folders: it could be a class.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attribution_core.datasets.file_kinds import is_junk, why_no_image
from attribution_core.datasets.images import FileImage
from attribution_core.datasets.listing import Examples, Listing, Unreadable
from attribution_core.datasets.split_names import named_after_splits, splits_of_folders
from attribution_core.errors import InputError


@dataclass(frozen=True)
class _Layout:
    """Where the class folders are.

    Attributes:
        base: Folder in which the layout begins.
        roots: Folder of each split; only "train", the base, if there are no splits; none if they are inside classes.
        class_roots: Folders that hold the class folders: of each split in the same order, or the base.
        skipped: Folders beside those of the splits.
        what: What was taken as what.
    """

    base: Path
    roots: dict[str, Path]
    class_roots: list[Path]
    skipped: list[Path]
    what: str


def recognizes(path: Path) -> bool:
    """Return whether this is a folder with subfolders."""
    return path.is_dir() and bool(_subfolders(path))


def read(path: Path) -> Listing:
    """List the images below the class folders, at any depth.

    Hidden files and those of the operating system are ignored. Files without an image's suffix are images if their
    content is one; every other file is listed as unreadable. Symbolic links are followed only to files inside the
    dataset: a dataset that reaches outside its folder could be neither moved nor trusted.

    Args:
        path: Absolute path of the dataset's folder.

    Returns:
        The images by split; each id is the path within the folder.

    Raises:
        InputError: Two folders are the same split, or there are splits without class folders.
    """
    layout = _layout(path)
    names = {split: root.name for split, root in layout.roots.items() if root != layout.base}
    listing = Listing({}, [], what=layout.what, split_names=names)
    found: dict[str, list[tuple[str, Path]]] = {split: [] for split in layout.roots}
    for split, name, file in _files(path, layout, listing):
        found.setdefault(split, []).append((name, file))
    classes = {name for root in layout.class_roots for name in map(_normalize_path, _subfolders(root))}
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
    listing.notes.extend(_notes(layout, listing.class_names))
    return listing


# -- layout ----------------------------------------------------------------------------------------------------------


def _layout(path: Path) -> _Layout:
    """Find the folders of the splits, or take everything as training examples."""
    base = _innermost(path)
    folders = [base / name for name in _subfolders(base)]
    names = named_after_splits(folder.name for folder in folders)
    what = "images in class folders" + ("" if base == path else f" in {base.relative_to(path).as_posix()}")
    splits = splits_of_folders([each.name for each in folders if each.name in names and _subfolders(each)], str(base))
    others = [folder for folder in folders if folder.name not in splits]
    with_images = [folder for folder in others if folder.name not in names and _has_images(folder)]
    if splits:
        if len(names) == 1 and len(with_images) > 1:
            only = next(iter(splits))
            raise InputError(
                f"{base} must hold either classes or splits, but it is unclear whether {only} is a split or a class "
                f"beside {' and '.join(each.name for each in with_images[:2])}: rename {only} if it is a class, or "
                "move the other folders away."
            )
        roots = {split: base / name for name, split in splits.items()}
        inside = {split: _innermost(root, within_split=True) for split, root in roots.items()}
        wrapped = all(inside[split] != root for split, root in roots.items())  # seg_train/seg_train/cat
        return _Layout(base, roots, list((inside if wrapped else roots).values()), others, what)
    if names and not with_images:
        raise InputError(
            f"The images of each split need a folder for each class, but {base} has none in "
            f"{' and '.join(sorted(names))}: make class folders inside, or give the path of a list (CSV, TSV or JSON "
            "Lines) of the images and their labels."
        )
    if all(map(_holds_splits, folders)) and any("train" in _inner_splits(folder).values() for folder in folders):
        return _Layout(base, {}, [base], [], f"{what}, with a folder for each split inside")
    return _Layout(base, {"train": base}, [base], [], what)


def _innermost(path: Path, within_split: bool = False) -> Path:
    """Return the folder where the layout begins: archives often unpack to a folder that holds a single folder."""
    while len(folders := _subfolders(path)) == 1 and not _images_directly_in(path):
        inner = path / folders[0]
        if not _subfolders(inner) or (named_after_splits(folders) and not within_split):
            break
        path = inner
    return path


def _inner_splits(folder: Path) -> dict[str, str]:
    return splits_of_folders(_subfolders(folder), str(folder))


def _holds_splits(folder: Path) -> bool:
    """Return whether a class folder holds folders of splits and nothing else that could be an image."""
    names = _subfolders(folder)
    return bool(names) and named_after_splits(names) == set(names) and not _images_directly_in(folder)


def _has_images(folder: Path) -> bool:
    return _images_directly_in(folder) or any(_has_images(folder / name) for name in _subfolders(folder))


def _images_directly_in(folder: Path) -> bool:
    # A path's is_file is false for a link to itself, where a directory entry's raises.
    return any(Path(entry).is_file() and why_no_image(entry) is None for entry in _entries(folder))


# -- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path, layout: _Layout, listing: Listing) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, class name, file) for each image; list every other file as unreadable."""
    above = layout.base
    while True:  # from where the layout begins to the dataset's folder
        if above not in layout.class_roots:
            _list_files(path, above, "it is not in the folder of a split", listing)
        if above == path:
            break
        above = above.parent
    for split, root in zip(layout.roots, layout.class_roots, strict=True) if layout.roots else ():
        if root != layout.roots[split]:
            _list_files(path, layout.roots[split], "it is not in a class folder", listing)
        _list_files(path, root, "it is not in a class folder", listing)
        for name in _subfolders(root):
            for file in _walk(path, root / name, listing):
                yield split, _normalize_path(name), file
    if not layout.roots:
        _list_files(path, layout.base, "it is not in a class folder", listing)
        for name in _subfolders(layout.base):
            folder = layout.base / name
            _list_files(path, folder, "it is not in the folder of a split", listing)
            for inner, split in _inner_splits(folder).items():
                for file in _walk(path, folder / inner, listing):
                    yield split, _normalize_path(name), file


def _list_files(path: Path, folder: Path, why: str, listing: Listing) -> None:
    """List the files directly in a folder as unreadable."""
    for entry in _entries(folder):
        if not entry.is_dir(follow_symlinks=False):
            listing.unreadable.append(Unreadable(_identity(path, entry), _refusal(path, entry) or why))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not is_junk(e.name)), key=lambda e: e.name)


def _subfolders(path: Path) -> list[str]:
    return [entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]


def _walk(path: Path, folder: Path, listing: Listing) -> Iterator[Path]:
    """Yield the image files below one class folder; add all others to ``listing.unreadable``."""
    try:
        entries = _entries(folder)
    except OSError as error:
        listing.unreadable.append(Unreadable(_identity(path, folder), str(error.strerror)))
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, Path(entry.path), listing)
        elif why := _refusal(path, entry) or why_no_image(entry):
            listing.unreadable.append(Unreadable(_identity(path, entry), why))
        else:
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


# -- notes -----------------------------------------------------------------------------------------------------------


def _notes(layout: _Layout, class_names: list[str]) -> list[str]:
    notes = []
    for folder in layout.skipped:
        count = sum(len([name for name in names if not is_junk(name)]) for _, _, names in os.walk(folder))
        why = "has no class folders" if named_after_splits([folder.name]) else "is not a split"
        files = "its only file was" if count == 1 else f"its {count:,} files were"
        notes.append(f"The folder {folder.name} {why}: {files} left out.")
    if layout.roots.get("train") == layout.base:
        named = sorted(named_after_splits(class_names))
        if named:
            are = "is taken as a class" if len(named) == 1 else "are taken as classes"
            notes.append(f"{' and '.join(named)} {are}, not as splits: no class folders are inside.")
        inner = [name for name in _subfolders(layout.base) if _holds_splits(layout.base / name)]
        if inner:
            notes.append(f"Folders of splits inside {inner[0]} were not taken as splits: other classes have none.")
    by_spelling: dict[str, list[str]] = {}
    for name in class_names:
        by_spelling.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in by_spelling.values():
        if len(names) > 1:
            notes.append(
                f"The classes {' and '.join(map(repr, names))} differ only by case or spaces: rename one if they are "
                "the same."
            )
    return notes


def _identity(path: Path, file: os.PathLike[str]) -> str:
    return _normalize_path(Path(file).relative_to(path).as_posix())


def _normalize_path(name: str) -> str:
    """Return a name in Unicode's composed form, with bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
