"""NumPy archives (``.npz``) of images and labels, as Keras, MedMNIST and users write them.

The arrays are called ``x_train`` and ``y_train``, or ``train_images`` and ``train_labels`` (likewise for other names of
splits, in small or capital letters); without splits, ``images`` and ``labels``, or ``x`` and ``y``, optionally with an
array ``split``. An array ``class_names`` names the classes; labels that are floats are values.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from attribution_core.datasets.arrays import as_pixels, levels_of, note_on_levels, white_level
from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import SPLIT_NAMES, UNNAMED, Examples, Listing, normalize_name, numbered_ids
from attribution_core.datasets.split_names import SPLITS, split_of, splits_of_cells, splits_of_words
from attribution_core.datasets.targets import Task, parse_labels
from attribution_core.errors import InputError

_TARGET = "label"
_UNSPLIT_KEYS = (("images", "labels"), ("x", "y"))
_SPLIT_KEYS = ("x_{}", "y_{}"), ("{}_images", "{}_labels")


class Keys(NamedTuple):
    """Names of the arrays of one split's images and labels."""

    images: str
    labels: str


@dataclass(frozen=True, eq=False)
class Archive:
    """The arrays of an archive, unchanged.

    Attributes:
        path: Path of the file.
        keys: Names of the arrays by split, or under ``UNNAMED`` alone.
        arrays: The images and labels, and ``split`` and ``class_names`` if present, by key.
    """

    path: Path
    keys: dict[str, Keys]
    arrays: dict[str, np.ndarray]


def recognizes(path: Path) -> bool:
    """Return whether this is an ``.npz`` file."""
    return path.is_file() and path.suffix.lower() == ".npz"


def read(path: Path, task: Task = "auto") -> Listing:
    """List the images of an archive; the arrays are in memory once, with 8 bits.

    Args:
        path: Path of the file. Images are uint8, fractions from 0 to 1 or from 0 to 255, or whole numbers of any range.
        task: Whether the labels are classes or values; under ``"auto"``, whole numbers are classes.

    Returns:
        The images by split.

    Raises:
        InputError: The file is damaged, or arrays are missing, do not match or hold something else.
    """
    archive = read_archive(path)
    labels, class_names, notes = labels_by_split(archive, task)
    largest = white_level(*(archive.arrays[keys.images] for keys in archive.keys.values()))
    levels = levels_of(archive.arrays[keys.images] for keys in archive.keys.values())
    rounded = any(archive.arrays[keys.images].dtype.kind == "f" for keys in archive.keys.values())
    parts = {}
    for split, keys in archive.keys.items():
        what = f"{keys.images} of {path}"
        pixels = as_pixels(archive.arrays.pop(keys.images), what, largest=largest, levels=levels)
        ids = numbered_ids(np.full(len(pixels), split))
        parts[split] = Examples.without_groups(ids, [ArrayImage(image) for image in pixels], labels[split])
    notes += [note_on_levels(levels)] if levels else []
    notes += [f"The pixels were numbers from 0 to {largest:g}; they were rounded to 8 bits."] if rounded else []
    return Listing(_by_split(archive, parts), class_names, notes=notes, target=_TARGET)


def read_archive(path: Path) -> Archive:
    """Read the arrays of an archive; check that they match each other, but not what they hold.

    Raises:
        InputError: The file is damaged, or arrays are missing or differ in length.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = _keys(set(file.files), path)
            wanted = [key for pair in keys.values() for key in pair]
            arrays = {key: file[key] for key in (*wanted, "split", "class_names") if key in file.files}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise InputError(
            f"{path} cannot be read as an .npz file of plain arrays ({error}): write it again with numpy.savez."
        ) from error
    for pair in keys.values():
        _check_lengths(path, arrays, *pair)
    if UNNAMED in keys and "split" in arrays:
        _check_lengths(path, arrays, keys[UNNAMED].images, "split")
    return Archive(path, keys, arrays)


def splits_of_rows(archive: Archive) -> np.ndarray | None:
    """Return the split of each row from the array ``split``, ``[n]``; None if the archive has no such array.

    Raises:
        InputError: A split is unknown, or has two names.
    """
    if UNNAMED not in archive.keys or "split" not in archive.arrays:
        return None
    names = [str(value) for value in archive.arrays["split"].reshape(-1)]
    unknown = next((row for row, name in enumerate(names) if split_of(name) is None), None)
    if unknown is not None:
        raise InputError(
            f"The array split of {archive.path} must hold {SPLITS}, but row {unknown} holds {names[unknown]!r}: rename "
            "that split or remove its rows."
        )
    meant = splits_of_cells(names, f"the array split of {archive.path}")
    return np.array([meant[name] for name in names], dtype=object)


def labels_by_split(archive: Archive, task: Task) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Parse the labels of all splits together, as :func:`parse_labels` does, and return them by split.

    Args:
        archive: Archive; if it has ``class_names``, whole numbers are positions in them (of classes, or of values).
        task: As in :func:`read`.

    Raises:
        InputError: The labels are neither numbers nor texts, or are not what the task needs.
    """
    columns = {split: _label_array(archive, keys.labels) for split, keys in archive.keys.items()}
    if task != "regression" and not any(column.dtype.kind == "f" for column in columns.values()):
        return *_classes(archive), []
    if task == "regression" and "class_names" in archive.arrays:
        columns = {
            split: column if column.dtype.kind == "f" else label_texts(archive, archive.keys[split].labels)
            for split, column in columns.items()
        }
    rows = [pd.Series(column, index=numbered_ids(np.full(len(column), split))) for split, column in columns.items()]
    labels, class_names, notes = parse_labels(pd.concat(rows), _TARGET, task)
    if class_names:
        return *_classes(archive), notes
    ends = np.cumsum([len(column) for column in columns.values()])
    return dict(zip(columns, np.split(labels, ends[:-1]), strict=True)), [], notes


def label_texts(archive: Archive, key: str) -> np.ndarray:
    """Return the class name of each label under a key, texts ``[n]``.

    Raises:
        InputError: A label is neither a text nor a whole number, or is not one of the classes.
    """
    labels = _label_array(archive, key)
    if labels.dtype.kind == "U":
        return np.array([normalize_name(text) for text in labels], dtype=object)
    names = declared_names(archive)
    beyond = (labels < 0) | (labels >= (len(names) if names is not None else np.inf))
    wrong = np.flatnonzero(beyond | (labels != np.floor(labels)))
    if len(wrong):
        expected = f"0 to {len(names) - 1}" if names is not None else "0 or more"
        raise InputError(
            f"The labels in {key} of {archive.path} must be {expected}, but row {wrong[0]} has {labels[wrong[0]]}: "
            "correct or remove it."
        )
    return np.array([names[int(label)] if names is not None else str(int(label)) for label in labels], dtype=object)


def declared_names(archive: Archive) -> list[str] | None:
    """Return the names in ``class_names``; None if there is no such array.

    Raises:
        InputError: The names are not texts, two are the same, or a label is not one of them.
    """
    names = archive.arrays.get("class_names")
    if names is None:
        return None
    texts = [normalize_name(str(name)) for name in names.reshape(-1)]
    if names.dtype.kind != "U" or len(set(texts)) < len(texts):
        raise InputError(f"class_names of {archive.path} must hold different texts, but it does not: correct it.")
    labels = [archive.arrays[keys.labels] for keys in archive.keys.values()]
    unknown = {normalize_name(text) for each in labels if each.dtype.kind == "U" for text in each.reshape(-1)} - set(
        texts
    )
    if unknown:
        raise InputError(
            f"class_names of {archive.path} must name every label, but {str(min(unknown))!r} is missing: add it."
        )
    return texts


def _label_array(archive: Archive, key: str) -> np.ndarray:
    """Return the labels under a key: numbers or texts, ``[n]``."""
    labels = archive.arrays[key]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iufU":
        raise InputError(
            f"{key} of {archive.path} must hold one number or text for each image, but it is "
            f"{labels.dtype} of shape {' x '.join(map(str, labels.shape))}: give each image its class or its value."
        )
    return labels


def _classes(archive: Archive) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return positions in the class names, int64 ``[n]`` by split, and the class names."""
    texts = {split: label_texts(archive, keys.labels) for split, keys in archive.keys.items()}
    declared = declared_names(archive)
    class_names = declared if declared is not None else _sorted_names(np.concatenate(list(texts.values())))
    position = {name: i for i, name in enumerate(class_names)}
    labels = {split: np.array([position[text] for text in each], dtype=np.int64) for split, each in texts.items()}
    return labels, class_names


def _by_split(archive: Archive, parts: dict[str, Examples]) -> dict[str, Examples]:
    splits = splits_of_rows(archive)
    if UNNAMED not in parts:
        return parts
    return {"train": parts[UNNAMED]} if splits is None else parts[UNNAMED].by_split(splits)


def _keys(present: set[str], path: Path) -> dict[str, Keys]:
    """Map each split to the names of its arrays, which may be in capital letters."""
    written = {key.lower(): key for key in sorted(present)}
    known = [(word, *(part.format(word) for part in form)) for form in _SPLIT_KEYS for word in SPLIT_NAMES]
    known += [(UNNAMED, *pair) for pair in _UNSPLIT_KEYS]
    found: dict[str, Keys] = {}
    for word, images, labels in known:
        if (images in written) != (labels in written):
            here, missing = (images, labels) if images in written else (labels, images)
            raise InputError(f"{path} needs an array {missing} beside {written[here]}, but has none: add it.")
        if images in written and word in found:
            raise InputError(
                f"{path} must have one array of images for each split, but it has {found[word].images} and "
                f"{written[images]}: remove one of them."
            )
        if images in written:
            found[word] = Keys(written[images], written[labels])
    if not found or (UNNAMED in found and len(found) > 1):
        raise InputError(
            f"{path} needs arrays called x_train and y_train, train_images and train_labels, images and labels, or x "
            f"and y, but it has {', '.join(sorted(present)) or 'none'}: rename its arrays."
        )
    if UNNAMED in found:
        return found
    splits = splits_of_words({keys.images: word for word, keys in found.items()}, str(path))
    return {splits[keys.images]: keys for keys in found.values()}


def _check_lengths(path: Path, arrays: dict[str, np.ndarray], images: str, others: str) -> None:
    counts = [arrays[key].shape[0] if arrays[key].ndim else 0 for key in (images, others)]
    if counts[0] != counts[1]:
        raise InputError(
            f"{others} and {images} of {path} must have equally many rows, but they have {counts[1]:,} and "
            f"{counts[0]:,}: use arrays of the same data."
        )


def _sorted_names(texts: np.ndarray) -> list[str]:
    names = set(texts.tolist())
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
