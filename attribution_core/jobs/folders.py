"""The folders of this machine, for a page on which a user picks one: names only, and nothing is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from attribution_core.datasets.file_kinds import SUFFIXES
from attribution_core.datasets.split_names import named_after_splits
from attribution_core.errors import InputError

_MOST_ENTRIES = 2000  # of a folder that are looked at
_PEEKED = 40  # entries of a class folder that are looked at
_CLASSES_PEEKED = 12  # class folders that are looked at
_ROWS = {
    ".parquet": "Parquet files",
    ".arrow": "Arrow files",
    ".csv": "CSV files",
    ".tsv": "TSV files",
    ".jsonl": "JSON Lines files",
    ".npz": ".npz files",
}


@dataclass(frozen=True)
class Folder:
    """A folder among others.

    Attributes:
        name: Its name.
        path: Its absolute path.
        holds: What looks like a dataset in it, in a few words; empty where nothing does.
    """

    name: str
    path: Path
    holds: str


def folders_in(path: Path) -> list[Folder]:
    """Return the folders in a folder, by name, without hidden ones and without symbolic links.

    Raises:
        InputError: There is no such folder, or it may not be read.
    """
    try:
        entries = _entries(path, _MOST_ENTRIES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"The folder {path} cannot be shown: {reason}.") from error
    folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    found = [Folder(each.name, Path(each.path), what_it_holds(Path(each.path))) for each in folders]
    return sorted(found, key=lambda folder: folder.name.casefold())


def what_it_holds(path: Path) -> str:
    """Return what looks like a dataset in a folder, in a few words; empty where nothing does or it may not be read."""
    try:
        entries = _entries(path, _MOST_ENTRIES)
    except OSError:  # folders_in says so once the user opens it
        return ""
    names = {entry.name for entry in entries}
    if names & {"dataset_info.json", "dataset_dict.json", "state.json"}:
        return "saved Hugging Face dataset"
    if any("-ubyte" in name or ".idx" in name for name in names):
        return "IDX files"
    folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    if named_after_splits([each.name for each in folders]) and any(_has_class_folders(each) for each in folders):
        return "images by split and class"
    if _has_class_folders(path):
        return f"images in {len(folders):,} class folders"
    suffixes = {Path(name).suffix.lower() for name in names}
    return next((words for suffix, words in _ROWS.items() if suffix in suffixes), "")


def _has_class_folders(path: Path) -> bool:
    """Return whether at least two folders in a folder hold images, as far as a quick look shows."""
    try:
        folders = [each for each in _entries(path, _MOST_ENTRIES) if each.is_dir(follow_symlinks=False)]
        return sum(_has_image(Path(each.path)) for each in folders[:_CLASSES_PEEKED]) > 1
    except OSError:  # one that may not be read is no dataset for this user
        return False


def _has_image(folder: Path) -> bool:
    return any(Path(entry.name).suffix.lower() in SUFFIXES for entry in _entries(folder, _PEEKED))


def _entries(path: Path, most: int) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return [entry for entry in islice(entries, most) if not entry.name.startswith(".")]
