"""Find a dataset by its name or path and list its examples, without decoding them. Loads without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attribution_core.datasets.builtin import BUILTIN_DATASETS
from attribution_core.datasets.formats import (
    arrow_files,
    folder,
    hugging_face,
    idx,
    manifest,
    npz,
    parquet,
    tables,
    texts,
)
from attribution_core.datasets.listing import Listing
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError

if TYPE_CHECKING:
    from attribution_core.datasets.formats.torch_objects import TorchData


@dataclass(frozen=True)
class Format:
    """A format of datasets on disk; the first in ``FORMATS`` that recognizes a path reads it.

    Attributes:
        name: Name that exports use.
        description: What the files contain, for messages.
        recognizes: Whether a path holds this format.
        read: Function that lists the examples.
        options: Options of ``open_dataset`` that ``read`` takes too.
    """

    name: str
    description: str
    recognizes: Callable[[Path], bool]
    read: Callable[..., Listing]
    options: tuple[str, ...] = ()


_LONGEST_SHOWN = 200  # characters of a path in an error

FORMATS = (
    Format("idx", "IDX files (train-images-idx3-ubyte, ...)", idx.recognizes, idx.read),
    Format(
        "manifest",
        "a CSV, TSV or JSON Lines file of images' paths and labels",
        manifest.recognizes,
        manifest.read,
        ("target", "task"),
    ),
    Format("npz", "an .npz file of images and labels", npz.recognizes, npz.read, ("task",)),
    Format(
        "rows",
        "CSV, TSV, JSON Lines or Parquet files of texts or rows",
        tables.recognizes,
        tables.read,
        ("target", "task"),
    ),
    Format(
        "hugging_face", "a folder made by save_to_disk", hugging_face.recognizes, hugging_face.read, ("target", "task")
    ),
    Format("arrow", "Arrow files of labeled rows", arrow_files.recognizes, arrow_files.read, ("target", "task")),
    Format("parquet", "Parquet files of images and labels", parquet.recognizes, parquet.read, ("target", "task")),
    Format("text", "a folder of text files, one folder or file for each class", texts.recognizes, texts.read),
    Format("folder", "a folder with one subfolder of images for each class", folder.recognizes, folder.read),
)


def list_examples(data: str | Path, target: str | None = None, task: Task = "auto") -> Listing:
    """List the examples of a dataset without decoding them, setting splits aside or leaving any out.

    Args:
        data: Name or path, as in :func:`attribution_core.open_dataset`.
        target: As in :func:`attribution_core.open_dataset`.
        task: As in :func:`attribution_core.open_dataset`.

    Raises:
        InputError: There is no such dataset, or it cannot be understood.
    """
    return find_dataset(data, target, task)[2]


def format_of(data: str | Path | TorchData) -> str:
    """Return the name of a dataset's format in ``FORMATS``, or "torch"; built-in datasets are "parquet".

    Raises:
        InputError: There is no such dataset.
    """
    if not isinstance(data, str | Path):
        return "torch"
    if not opens_by_name(data):
        return _recognize(data)[1].name
    return "hugging_face" if str(data).startswith(hugging_face.PREFIX) else "parquet"


def opens_by_name(data: str | Path) -> bool:
    """Return whether ``open_dataset`` takes this as a name rather than a path."""
    return any(data == known.name for known in BUILTIN_DATASETS) or str(data).startswith(hugging_face.PREFIX)


def find_dataset(data: str | Path | TorchData, target: str | None, task: Task) -> tuple[str, str, Listing]:
    """Return a dataset's name, its location, and its examples; the arguments are those of :func:`list_examples`.

    Raises:
        InputError: There is no such dataset, or it cannot be understood.
    """
    if not isinstance(data, str | Path):
        from attribution_core.datasets.formats import torch_objects

        name = torch_objects.dataset_name(data)
        options = _options(name, ("task",), target, task)
        return name, "", torch_objects.read(data, **options)
    if str(data).startswith(hugging_face.PREFIX):
        options = _options(str(data), ("target", "task"), target, task)
        return str(data), "", hugging_face.read_named(str(data).removeprefix(hugging_face.PREFIX), **options)
    for known in BUILTIN_DATASETS:
        if data == known.name:
            _options(known.name, (), target, task)
            return known.name, "", dataclasses.replace(known.read(), notes=list(known.notes))
    path, form = _recognize(data)
    options = _options(path.name, form.options, target, task)
    try:
        return path.name, str(path), form.read(path, **options)
    except OSError as error:
        raise InputError(f"The dataset at {data} cannot be read: {error}.") from error


def _options(name: str, takes: tuple[str, ...], target: str | None, task: Task) -> dict[str, Any]:
    """Return the options to pass to a reader; refuse those that it does not take."""
    if target is not None and "target" not in takes:
        raise InputError(
            f"A target is a column of a table or list, and {name} has no columns to choose from: leave the target out."
        )
    if task == "regression" and "task" not in takes:
        raise InputError(f"A regression needs numbers as labels, but {name} has only classes: leave the task out.")
    return {option: value for option, value in (("target", target), ("task", task)) if option in takes}


def _recognize(data: str | Path) -> tuple[Path, Format]:
    """Return the absolute path of a dataset, and its format."""
    names = ", ".join(known.name for known in BUILTIN_DATASETS)
    try:
        given = Path(data).expanduser()
        path = given.resolve()
        if path.is_file() and path.suffix != given.suffix:  # the hub's cache links names to files without a suffix
            path = given.absolute()
        if not path.exists():
            raise InputError(f"There is no file or folder at {path}: give the path of a dataset, or one of {names}.")
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path} is neither a file nor a folder: give the path of a dataset.")
        for form in FORMATS:
            if form.recognizes(path):
                return path, form
    except InputError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # for example a link to itself, an unknown user's home or a null byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"The dataset at {str(data)[:_LONGEST_SHOWN]} cannot be read: {reason}.") from error
    forms = "; ".join(form.description for form in FORMATS)
    raise InputError(f"No dataset was found at {path}: give {forms}; or one of the names {names}.")


def require_examples(listing: Listing) -> None:
    """Check that each split of a listing has examples, each with an id of its own.

    Raises:
        InputError: One has none, or two of its examples share an id.
    """
    for split, examples in listing.parts.items():
        ids = pd.Series(examples.ids)
        if not len(ids):
            first = "".join(f"; the first skipped is {u.where}: {u.why}" for u in listing.unreadable[:1])
            raise InputError(f"The {split} split needs examples, but none were found{first}.")
        if not ids.is_unique:
            raise InputError(
                f"Each example of a split needs its own id, but two of the {split} examples are called "
                f"{ids[ids.duplicated()].iloc[0]}: rename one of them."
            )


def require_classes(class_names: list[str], counts: np.ndarray) -> None:
    """Check that the training examples have at least two classes.

    Args:
        class_names: Names of the ``k`` classes.
        counts: Training examples of each, ``[k]``.

    Raises:
        InputError: They have fewer.
    """
    if np.count_nonzero(counts) < 2:
        only = ", ".join(class_names[c] for c in np.flatnonzero(counts))
        raise InputError(f"The training examples must have at least two classes, but there is only one class: {only}.")
