"""Find the files of a dataset as hubs and users lay them out: side by side, by split, in ``data`` or a configuration.

train.parquet, test.parquet                       files named after splits
train/0000.parquet, test/0000.parquet             folders named after splits
data/train-00000-of-00001.parquet                 either of these in one folder of any name
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from attribution_core.datasets.file_kinds import SUFFIXES
from attribution_core.datasets.listing import UNNAMED
from attribution_core.datasets.split_names import split_of, splits_of_files, splits_of_folders
from attribution_core.errors import InputError

_SHARD = re.compile(r"(.+?)[-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]+)?")  # the hub's names: NAME-00000-of-00001
_DEPTH = 3  # of the files below the folder: CONFIGURATION/SPLIT/FILE


@dataclass(frozen=True)
class DataFiles:
    """The files of one dataset.

    Attributes:
        splits: Split of each file, in the order of their paths; ``UNNAMED`` for all if no name means a split.
        names: What the files or folders call the splits.
        notes: Sentences that a user should read.
    """

    splits: dict[Path, str]
    notes: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def files_below(path: Path, suffix: str) -> list[Path]:
    """Return a file itself if it has this suffix; of a folder, the files that may be a dataset's, in order."""
    if path.is_file():
        return [path] if path.suffix.lower() == suffix else []
    if not path.is_dir():
        return []
    return sorted(_walk(path, suffix, _DEPTH))


def find_files(path: Path, suffix: str, skip_others: bool = False) -> DataFiles:
    """Find the files of a dataset, and their splits.

    Args:
        path: File, or folder.
        suffix: Suffix of the files in lower case, with its dot.
        skip_others: Whether to skip files whose names mean no split, where others' do, rather than to refuse them.

    Returns:
        The files; none if there are none.

    Raises:
        InputError: There are several configurations, or some files name their split and others do not.
    """
    files = files_below(path, suffix)
    if path.is_file():
        return DataFiles(dict.fromkeys(files, split_of(path.stem) or UNNAMED))
    root, files = _configuration(path, files)
    return _with_splits(root, files, skip_others)


def data_folder(path: Path, suffixes: Iterable[str]) -> Path:
    """Return the only folder below a path that holds files with these suffixes that are named after splits.

    It is the path itself if it is a file or holds such files, and if images or no such files are below it.

    Raises:
        InputError: Several folders hold such files.
    """
    if not path.is_dir() or any(_files_in(path, suffix) for suffix in suffixes):
        return path
    found = [file for suffix in suffixes for file in files_below(path, suffix)]
    named = [file for file in found if splits_of_files([file.stem], str(path))]
    return path if not named or holds_images(path) else _configuration(path, sorted(named))[0]


def _configuration(path: Path, files: list[Path]) -> tuple[Path, list[Path]]:
    """Return the folder that holds the dataset, and its files."""
    homes: dict[Path, list[Path]] = {}
    for file in files:
        homes.setdefault(_home(path, file), []).append(file)
    if len(homes) > 1:
        names = [home.relative_to(path).as_posix() for home in homes]
        shown = ", ".join("the folder itself" if name == "." else name for name in names[:8])
        example = next(home for home in homes if home != path)
        raise InputError(
            f"{path} must hold one dataset, but it holds {len(homes)}, in {shown}{', ...' if len(names) > 8 else ''}: "
            f"give the path of one of them, such as {example}."
        )
    return next(iter(homes.items())) if homes else (path, [])


def _home(path: Path, file: Path) -> Path:
    """Return the folder of the dataset that a file belongs to: above the folders that are named after splits."""
    folder = file.parent
    while folder != path:
        siblings = [entry.name for entry in _folders_in(folder.parent)]
        if not splits_of_folders(siblings, str(folder.parent)):
            return folder
        folder = folder.parent
    return path


def _with_splits(root: Path, files: list[Path], skip_others: bool) -> DataFiles:
    """Give each file its split: that of its own name, else of its folder."""
    by_file = splits_of_files([file.stem for file in files], str(root))
    folders = {file.relative_to(root).parts[0] for file in files if file.parent != root}
    by_folder = splits_of_folders(sorted(folders), str(root))
    found = {file: by_file.get(file.stem) or by_folder.get(file.relative_to(root).parts[0]) for file in files}
    named = {file: split for file, split in found.items() if split is not None}
    if not named:
        return DataFiles(dict.fromkeys(files, UNNAMED))
    others: dict[str, None] = {}
    names: dict[str, str] = {}
    for file in files:
        shard = _SHARD.fullmatch(file.stem)
        if file in named:
            own = shard.group(1) if shard else file.stem
            names.setdefault(named[file], own if file.stem in by_file else file.relative_to(root).parts[0])
            continue
        if file.parent == root and shard is None and not skip_others:
            raise InputError(
                f"Either all files or none must name their split, but {file} does not and others do: begin its name "
                f"with train, validation or test, or move it out of {root}."
            )
        folder = file.relative_to(root).parts[0] if file.parent != root else file.stem
        others[folder if shard is None or file.parent != root else shard.group(1)] = None
    notes = [f"{name} is not a train, validation or test split and was skipped." for name in others]
    return DataFiles(named, notes, names)


def _files_in(folder: Path, suffix: str) -> list[Path]:
    found = [Path(entry.path) for entry in _entries(folder) if entry.name.lower().endswith(suffix)]
    # The datasets library keeps results of calculations in cache-HASH.arrow beside the data.
    return sorted(each for each in found if each.is_file() and not (suffix == ".arrow" and each.match("cache-*")))


def _folders_in(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A path's is_dir is false for a link to itself, where a directory entry's raises.
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder but hidden ones; unlike paths, they know what they are without asking again.

    A folder that may not be read has none here: the reader of the format that is found lists it as unreadable.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except PermissionError:
        return []


def _walk(folder: Path, suffix: str, depth: int) -> list[Path]:
    below = [file for inner in _folders_in(folder) for file in _walk(inner, suffix, depth - 1)] if depth > 1 else []
    return _files_in(folder, suffix) + below


def holds_images(folder: Path) -> bool:
    """Return whether a folder holds images, looking at the first that it meets."""
    return any(file.suffix.lower() in SUFFIXES for file in folder.rglob("*") if not file.name.startswith("."))
