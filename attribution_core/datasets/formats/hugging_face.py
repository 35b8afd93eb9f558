"""Hugging Face datasets: folders that ``save_to_disk`` wrote, and ``hf:NAME`` through the library ``datasets``."""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attribution_core.datasets.formats.arrow_rows import Part, join_parts
from attribution_core.datasets.formats.image_table import image_columns, list_images
from attribution_core.datasets.formats.tables import list_rows, table_of
from attribution_core.datasets.listing import UNNAMED, Listing
from attribution_core.datasets.split_names import splits_of_folders
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError

PREFIX = "hf:"
_SPLITS, _STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_DATA, _INDICES = "_data_files", "_indices_data_files"  # in the state
_PATIENCE = 5.0  # seconds in which the hub must answer


def recognizes(path: Path) -> bool:
    """Return whether ``save_to_disk`` wrote this folder, or folders in it."""
    return _is_saved(path) or (path.is_dir() and bool(_saved_folders(path)))


def read(path: Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the rows of a saved dataset, reading its Arrow files without the ``datasets`` library.

    Args:
        path: Folder of the dataset, or of one dataset for each split.
        target: Target column; by default one called label, or the only one of class labels.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split, of images, texts or rows; a dataset saved without splits is all "train".

    Raises:
        InputError: A file is missing or damaged, or the columns are not those of labeled examples.
    """
    folders, notes = _split_folders(path)
    return list_parts([_saved_part(folder, split, path) for folder, split in folders.items()], notes, target, task)


def files_of(path: Path) -> list[Path]:
    """Return the Arrow files of a saved dataset in the order in which its rows are counted.

    Raises:
        InputError: A file is missing, or keeps a choice of rows apart from them.
    """
    folders, _ = _split_folders(path)
    for folder in folders:
        if _json(folder / _STATE).get(_INDICES):
            raise InputError(
                f"{folder} must hold exactly its rows, but it keeps a choice of them apart: load it with the library "
                "datasets and save it again."
            )
    return [file for folder in folders for file in _arrow_files(folder, _DATA)]


def _split_folders(path: Path) -> tuple[dict[Path, str], list[str]]:
    """Return the folder of each split with the split's name, and notes on those that are skipped."""
    if (path / _SPLITS).is_file():
        names = _json(path / _SPLITS).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise InputError(
                f"{path / _SPLITS} must list the names of the splits, but it does not: save the dataset again."
            )
    elif _is_saved(path):
        return {path: UNNAMED}, []
    else:  # datasets that were saved one by one: one for each split, or only one
        names = _saved_folders(path)
        if not _are_splits(path, names):
            if len(names) > 1:
                raise InputError(
                    f"{path} must hold one dataset, but it holds {len(names)}, in {', '.join(names)}: give the path of "
                    f"one, such as {path / names[0]}."
                )
            return _split_folders(path / names[0])
    splits = splits_of_folders(names, str(path))
    notes = [
        f"{name} is not a train, validation or test split and was skipped." for name in names if name not in splits
    ]
    return {path / name: splits[name] for name in names if name in splits}, notes


def _are_splits(path: Path, names: list[str]) -> bool:
    splits = splits_of_folders(names, str(path))
    return bool(splits) and not any((path / name / _SPLITS).is_file() for name in splits)


def read_named(name: str, target: str | None = None, task: Task = "auto") -> Listing:
    """List the rows of a dataset of the Hugging Face hub, from the library's cache or over the network.

    Args:
        name: Name without ``hf:``, such as ``ylecun/mnist``, or with a configuration, such as ``nyu-mll/glue:sst2``.
        target: As in :func:`read`.
        task: As in :func:`read`.

    Returns:
        The rows by split.

    Raises:
        InputError: The library is missing, or the dataset cannot be loaded or does not hold labeled examples.
    """
    tables, skipped = named_tables(name)
    splits = splits_of_folders(list(tables), f"{PREFIX}{name}")
    parts = [Part(each, np.full(len(each), splits[split], dtype=object), split) for split, each in tables.items()]
    return list_parts(parts, _notes(skipped), target, task)


def named_tables(name: str) -> tuple[dict[str, pa.Table], list[str]]:
    """Load a dataset of the Hugging Face hub; return the rows of the splits that are used, and the names of the others.

    Raises:
        InputError: The library is missing, or the dataset cannot be loaded.
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"Opening {PREFIX}{name} needs the library datasets, which is not installed: run pip install "
            "'samplescope[hub]', or give the path of a folder that save_to_disk wrote."
        ) from error
    repository, _, configuration = name.partition(":")
    try:
        with _quiet("huggingface_hub", "datasets"), _offline_unless_reachable(repository):
            found = datasets.load_dataset(repository, configuration or None)
        names = [str(split) for split in found]
        used = splits_of_folders(names, f"{PREFIX}{name}")
        # Copies images that are stored in separate files into the table.
        tables = {each: datasets.table.embed_table_storage(found[each].with_format("arrow")[:]) for each in used}
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _not_loaded(name, error, str(datasets.config.HF_DATASETS_CACHE)) from error
    return tables, [each for each in names if each not in used]


def _not_loaded(name: str, error: Exception, cache: str) -> InputError:
    """Return the error for a dataset that the library cannot load: which configuration to choose, or how to get it."""
    repository, _, configuration = name.partition(":")
    reason = " ".join(str(error).split()).rstrip(".")
    example = re.search(r"load_dataset\(\s*'[^']*',\s*'([^']+)'\s*\)", reason)
    if example and not configuration:
        available = re.search(r"\[[^\]]*\]", reason)
        among = f", {available.group(0)[1:-1]}" if available else ""
        return InputError(
            f"{PREFIX}{name} has several configurations{among}: choose one, such as "
            f"{PREFIX}{repository}:{example.group(1)}."
        )
    arguments = f"'{repository}', '{configuration}'" if configuration else f"'{repository}'"
    return InputError(
        f"{PREFIX}{name} cannot be loaded from {cache} or over the network ({reason}): on a machine with a network, "
        f"run python -c \"import datasets; datasets.load_dataset({arguments}).save_to_disk('FOLDER')\", copy FOLDER "
        "here and give its path."
    )


@contextmanager
def _offline_unless_reachable(repository: str) -> Iterator[None]:
    """Make the library use its cache at once if the hub does not answer, which it otherwise tries for half a minute."""
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    before = datasets.config.HF_HUB_OFFLINE
    try:
        if not before:
            try:
                HfApi().dataset_info(repository, timeout=_PATIENCE)
            except (HfHubHTTPError, ValueError):
                pass  # the hub answered, or the name is none: the library says what is wrong
            except Exception:  # noqa: BLE001 -- the errors of the network differ between versions of the library
                datasets.config.HF_HUB_OFFLINE = True
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence these libraries' warnings: offline, each of many attempts to reach the hub logs one."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _notes(skipped: Iterable[str]) -> list[str]:
    return [f"{name} is not a train, validation or test split and was skipped." for name in sorted(skipped)]


def list_parts(parts: list[Part], notes: list[str], target: str | None, task: Task) -> Listing:
    """List rows of images, texts or tables; arguments, result and errors are those of :func:`read`."""
    if not parts:
        raise InputError("The dataset needs a split called train, validation or test, but it has none: rename a split.")
    if any(map(image_columns, parts)):
        listing = list_images(parts, target, task)
    else:
        listing = list_rows(table_of(join_parts(parts, target)), task)
    return replace(listing, notes=notes + listing.notes)


def _is_saved(path: Path) -> bool:
    return path.is_dir() and ((path / _SPLITS).is_file() or ((path / _STATE).is_file() and (path / INFO).is_file()))


def _saved_folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".") and _is_saved(entry))


def _saved_part(folder: Path, split: str, root: Path) -> Part:
    """Read the rows of one split; its features are those that the library would give it."""
    table = _saved_table(folder)
    features = _json(folder / INFO).get("features") if (folder / INFO).is_file() else None
    stated = features if isinstance(features, dict) else None
    names = {split: folder.name} if split != UNNAMED else {}
    return Part(table, np.full(len(table), split, dtype=object), folder.name, folder, stated, root, names)


def _saved_table(folder: Path) -> pa.Table:
    table = pa.concat_tables(_arrow_file(file) for file in _arrow_files(folder, _DATA))
    if _json(folder / _STATE).get(_INDICES):  # early versions kept the choice of rows apart
        return table.take(pa.concat_tables(_arrow_file(file) for file in _arrow_files(folder, _INDICES))["indices"])
    return table


def _arrow_files(folder: Path, key: str) -> list[Path]:
    try:
        names = [str(file["filename"]) for file in _json(folder / _STATE).get(key) or []]
    except (TypeError, KeyError):
        names = []
    if not names or not all(Path(name).name == name for name in names):
        raise InputError(f"{folder / _STATE} must list Arrow files, but it does not: save the dataset again.")
    return [folder / name for name in names]


def _arrow_file(file: Path) -> pa.Table:
    try:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as an Arrow file ({error}): save the dataset again.") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}, which save_to_disk writes, cannot be read ({error}): save the dataset again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold a JSON object, but it does not: save the dataset again.")
    return content
