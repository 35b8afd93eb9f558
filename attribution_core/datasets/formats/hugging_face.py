"""Hugging Face datasets of images: folders that ``save_to_disk`` wrote, and ``hf:NAME`` through ``datasets``."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attribution_core.datasets.formats.image_table import list_table
from attribution_core.datasets.listing import SPLIT_NAMES, UNNAMED, Listing
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError

PREFIX = "hf:"
_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def recognizes(path: Path) -> bool:
    """Return whether ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote this folder."""
    return path.is_dir() and ((path / _SPLITS).is_file() or ((path / _STATE).is_file() and (path / _INFO).is_file()))


def read(path: Path, task: Task = "auto") -> Listing:
    """List the rows of a saved dataset, reading its Arrow files without the ``datasets`` library.

    Args:
        path: Folder of the dataset.
        task: Whether the labels are classes or values; ``"auto"`` decides from the labels.

    Returns:
        The rows by split; a dataset saved without splits is all "train".

    Raises:
        InputError: A file is missing or damaged, or the columns are not those of labeled images.
    """
    if not (path / _SPLITS).is_file():
        return _listing({UNNAMED: _saved_table(path)}, task)
    names = _json(path / _SPLITS).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(
            f"{path / _SPLITS} must list the names of the splits, but it does not: save the dataset again."
        )
    known = [name for name in names if name.lower() in SPLIT_NAMES]
    listing = _listing({name: _saved_table(path / name) for name in known}, task)
    listing.notes.extend(_skipped_note(name) for name in names if name not in known)
    return listing


def read_named(name: str, task: Task = "auto") -> Listing:
    """List the rows of a dataset of the Hugging Face hub, from the library's cache or over the network.

    Args:
        name: Name without ``hf:``, such as ``ylecun/mnist``.
        task: As in :func:`read`.

    Returns:
        The rows by split.

    Raises:
        InputError: The library is missing, or the dataset cannot be loaded or does not hold labeled images.
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"Opening {PREFIX}{name} needs the library datasets, which is not installed: run pip install "
            "'samplescope[hub]', or give the path of a folder that save_to_disk wrote."
        ) from error
    try:
        with _quiet("huggingface_hub", "datasets"):
            found = datasets.load_dataset(name)
        # Copies images that are stored in separate files into the table.
        tables = {
            str(split): datasets.table.embed_table_storage(found[split].with_format("arrow")[:])
            for split in found
            if str(split).lower() in SPLIT_NAMES
        }
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{PREFIX}{name} cannot be loaded from {datasets.config.HF_DATASETS_CACHE} or over the network "
            f'({" ".join(str(error).split()).rstrip(".")}): on a machine with a network, run python -c "import '
            f"datasets; datasets.load_dataset('{name}').save_to_disk('FOLDER')\", copy FOLDER here and give its path."
        ) from error
    listing = _listing(tables, task)
    listing.notes.extend(_skipped_note(str(split)) for split in found if str(split) not in tables)
    return listing


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


def _listing(tables: dict[str, pa.Table], task: Task) -> Listing:
    if not tables:
        raise InputError(f"The dataset needs a split called {', '.join(SPLIT_NAMES)}, but it has none: rename a split.")
    splits = [np.full(len(table), SPLIT_NAMES.get(name.lower(), name), dtype=object) for name, table in tables.items()]
    try:
        whole = pa.concat_tables(tables.values(), promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"The splits must have the same columns, but they differ ({error}): give them the same columns."
        ) from error
    return list_table(whole, np.concatenate(splits), task)


def _saved_table(folder: Path) -> pa.Table:
    """Read the rows of one split."""
    files = _json(folder / _STATE).get("_data_files")
    try:
        names = [str(file["filename"]) for file in files or []]
    except (TypeError, KeyError):
        names = []
    if not names or not all(Path(name).name == name for name in names):
        raise InputError(f"{folder / _STATE} must list Arrow files, but it does not: save the dataset again.")
    tables = []
    for name in names:
        try:
            with pa.memory_map(str(folder / name)) as source, pa.ipc.open_stream(source) as reader:
                tables.append(reader.read_all())
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{folder / name} cannot be read as an Arrow file ({error}): save the dataset again."
            ) from error
    return pa.concat_tables(tables)


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


def _skipped_note(name: str) -> str:
    return f"{name} is not a train, validation or test split and was skipped."
