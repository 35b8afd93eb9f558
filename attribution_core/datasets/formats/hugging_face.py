"""Hugging Face datasets of images: a folder made by ``save_to_disk``, or ``hf:NAME`` through their own library."""

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
    """Whether this is a folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` made."""
    return path.is_dir() and ((path / _SPLITS).is_file() or ((path / _STATE).is_file() and (path / _INFO).is_file()))


def read(path: Path, task: Task = "auto") -> Listing:
    """Lists the rows of a saved dataset; its Arrow files are read without the ``datasets`` library.

    Args:
        path: The folder.
        task: Whether the labels are classes or values; by default what they look like.

    Returns:
        The rows by split; a dataset that was saved without splits is all "train".

    Raises:
        InputError: If a file is missing or damaged, or the columns are not those of labelled images.
    """
    if not (path / _SPLITS).is_file():
        return _listing({UNNAMED: _saved_table(path)}, task)
    names = _json(path / _SPLITS).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(
            f"Names of splits were expected in {path / _SPLITS}, and there are none: save the dataset again."
        )
    known = [name for name in names if name.lower() in SPLIT_NAMES]
    listing = _listing({name: _saved_table(path / name) for name in known}, task)
    listing.notes.extend(_left_out(name) for name in names if name not in known)
    return listing


def read_named(name: str, task: Task = "auto") -> Listing:
    """Lists a dataset of the Hugging Face hub, from the library's cache or over the network.

    Args:
        name: Such as ``ylecun/mnist``, without ``hf:``.
        task: As in :func:`read`.

    Returns:
        The rows by split.

    Raises:
        InputError: If the library is missing, the dataset cannot be had, or it is none of labelled images.
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"The library datasets was expected, to open {PREFIX}{name}, and it is not installed: run pip install "
            "'samplescope[hub]', or give the path of a folder made by save_to_disk."
        ) from error
    try:
        with _quiet("huggingface_hub", "datasets"):
            found = datasets.load_dataset(name)
        # Images that lie in files of their own come into the table with it.
        tables = {
            str(split): datasets.table.embed_table_storage(found[split].with_format("arrow")[:])
            for split in found
            if str(split).lower() in SPLIT_NAMES
        }
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{PREFIX}{name} was expected in {datasets.config.HF_DATASETS_CACHE} or on the network, and cannot be had "
            f'({" ".join(str(error).split()).rstrip(".")}): where there is a network, run python -c "import datasets; '
            f"datasets.load_dataset('{name}').save_to_disk('FOLDER')\", bring FOLDER here and give its path."
        ) from error
    listing = _listing(tables, task)
    listing.notes.extend(_left_out(str(split)) for split in found if str(split) not in tables)
    return listing


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keeps these libraries' warnings back: offline, each of many tries to reach the hub brings one."""
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
        raise InputError(f"A split called {', '.join(SPLIT_NAMES)} was expected, and there is none: rename one.")
    splits = [np.full(len(table), SPLIT_NAMES.get(name.lower(), name), dtype=object) for name, table in tables.items()]
    try:
        whole = pa.concat_tables(tables.values(), promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"The splits were expected to have the same columns: {error}.") from error
    return list_table(whole, np.concatenate(splits), task)


def _saved_table(folder: Path) -> pa.Table:
    """The rows of one split."""
    files = _json(folder / _STATE).get("_data_files")
    try:
        names = [str(file["filename"]) for file in files or []]
    except (TypeError, KeyError):
        names = []
    if not names or not all(Path(name).name == name for name in names):
        raise InputError(f"Names of Arrow files were expected in {folder / _STATE}, and there are none: save it again.")
    tables = []
    for name in names:
        try:
            with pa.memory_map(str(folder / name)) as source, pa.ipc.open_stream(source) as reader:
                tables.append(reader.read_all())
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"An Arrow file was expected, and {folder / name} cannot be read as one: {error}."
            ) from error
    return pa.concat_tables(tables)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"A file that save_to_disk writes was expected at {file}, and cannot be read: {error}."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"A JSON object was expected in {file}, and there is none: save the dataset again.")
    return content


def _left_out(name: str) -> str:
    return f"{name} is no split that is used here: it was left out."
