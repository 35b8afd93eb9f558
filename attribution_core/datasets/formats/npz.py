"""NumPy archives (``.npz``) of images and labels, as Keras, MedMNIST and users write them.

The arrays are called ``x_train`` and ``y_train``, ``train_images`` and ``train_labels`` (and so for ``val``,
``validation``, ``valid`` and ``test``), or without splits ``images`` and ``labels``, or ``x`` and ``y``, perhaps with
an array ``split`` beside them. An array ``class_names`` names the classes; labels that are floats are values.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from attribution_core.datasets.arrays import as_pixels, white_level
from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import SPLIT_NAMES, UNNAMED, Examples, Listing, normalize_name, numbered_ids
from attribution_core.datasets.targets import Task, parse_labels
from attribution_core.errors import InputError

_TARGET = "label"
_UNSPLIT_KEYS = (("images", "labels"), ("x", "y"))
_SPLIT_KEYS = ("x_{}", "y_{}"), ("{}_images", "{}_labels")


class Keys(NamedTuple):
    """What the images and the labels of one split are called."""

    images: str
    labels: str


@dataclass(frozen=True, eq=False)
class Archive:
    """The arrays of an archive, as they are.

    Attributes:
        path: The file.
        keys: By split, or of ``UNNAMED`` alone.
        arrays: By key: the images and labels, and ``split`` and ``class_names`` where there are any.
    """

    path: Path
    keys: dict[str, Keys]
    arrays: dict[str, np.ndarray]

    def key_for(self, split: str) -> Keys:
        """The names of a split's arrays, in the manner of the others where there are none yet."""
        if split in self.keys:
            return self.keys[split]
        form = next(form for form in _SPLIT_KEYS if next(iter(self.keys.values())) in _alternatives(form))
        return Keys(*(part.format({"validation": "val"}.get(split, split)) for part in form))


def recognizes(path: Path) -> bool:
    """Whether this is a file called ``.npz``."""
    return path.is_file() and path.suffix.lower() == ".npz"


def read(path: Path, task: Task = "auto") -> Listing:
    """Lists the images of an archive; the arrays are in memory once, as 8 bits.

    Args:
        path: The file. Images are uint8, or numbers from 0 to 1 or from 0 to 255.
        task: Whether the labels are classes or values; by default whole numbers are classes.

    Returns:
        The images by split.

    Raises:
        InputError: If the file is damaged, arrays are missing or do not fit together, or hold something else.
    """
    archive = read_archive(path)
    labels, class_names, notes = labels_by_split(archive, task)
    largest = white_level(*(archive.arrays[keys.images] for keys in archive.keys.values()))
    rounded = any(archive.arrays[keys.images].dtype.kind == "f" for keys in archive.keys.values())
    parts = {}
    for split, keys in archive.keys.items():
        pixels = as_pixels(archive.arrays.pop(keys.images), f"{keys.images} of {path}", largest=largest)
        ids = numbered_ids(np.full(len(pixels), split))
        parts[split] = Examples.without_groups(ids, [ArrayImage(image) for image in pixels], labels[split])
    notes += [f"The pixels were numbers from 0 to {largest:g}; they were rounded to 8 bits."] if rounded else []
    return Listing(_by_split(archive, parts), class_names, notes=notes, target=_TARGET)


def read_archive(path: Path) -> Archive:
    """The arrays of an archive, checked for what goes together but not for what they hold.

    Raises:
        InputError: If the file is damaged, or arrays are missing or differ in length.
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
            f"An .npz file of plain arrays was expected, and {path} cannot be read as one: {error}."
        ) from error
    for pair in keys.values():
        _check_lengths(path, arrays, *pair)
    if UNNAMED in keys and "split" in arrays:
        _check_lengths(path, arrays, keys[UNNAMED].images, "split")
    return Archive(path, keys, arrays)


def splits_of_rows(archive: Archive) -> np.ndarray | None:
    """The split of each row of arrays without splits, ``[n]``; None where the archive does not say.

    Raises:
        InputError: If one is unknown.
    """
    if UNNAMED not in archive.keys or "split" not in archive.arrays:
        return None
    names = [str(value) for value in archive.arrays["split"].reshape(-1)]
    found = [SPLIT_NAMES.get(name.lower()) for name in names]
    if None in found:
        row = found.index(None)
        raise InputError(
            f"The array split of {archive.path} was expected to hold {', '.join(SPLIT_NAMES)}, and row {row} holds "
            f"{names[row]!r}: rename that split or remove its rows."
        )
    return np.array(found, dtype=object)


def labels_by_split(archive: Archive, task: Task) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """What the labels of each split say: as :func:`parse_labels`, of all together.

    Args:
        archive: Numbers are positions in its ``class_names``, where it has any: of classes, or of what is a value.
        task: As in :func:`read`.

    Raises:
        InputError: If labels are no numbers or texts, or values were asked for and are not there.
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
    """The class name of each label under a key, texts ``[n]``.

    Raises:
        InputError: If they are neither texts nor whole numbers, or are none of the classes.
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
            f"Labels of {expected} were expected in {key} of {archive.path}, and row {wrong[0]} has "
            f"{labels[wrong[0]]}: correct or remove it."
        )
    return np.array([names[int(label)] if names is not None else str(int(label)) for label in labels], dtype=object)


def declared_names(archive: Archive) -> list[str] | None:
    """What ``class_names`` holds; None where there is none.

    Raises:
        InputError: If these are no texts, or two are the same, or a label is none of them.
    """
    names = archive.arrays.get("class_names")
    if names is None:
        return None
    texts = [normalize_name(str(name)) for name in names.reshape(-1)]
    if names.dtype.kind != "U" or len(set(texts)) < len(texts):
        raise InputError(
            f"Different texts were expected in class_names of {archive.path}, and it holds others: correct it."
        )
    labels = [archive.arrays[keys.labels] for keys in archive.keys.values()]
    unknown = {normalize_name(text) for each in labels if each.dtype.kind == "U" for text in each.reshape(-1)} - set(
        texts
    )
    if unknown:
        raise InputError(
            f"A label is {str(min(unknown))!r}, which class_names of {archive.path} does not have: add it."
        )
    return texts


def _label_array(archive: Archive, key: str) -> np.ndarray:
    """Numbers or texts, ``[n]``."""
    labels = archive.arrays[key]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iufU":
        raise InputError(
            f"One number or text for each image was expected in {key} of {archive.path}, and it is "
            f"{labels.dtype} of shape {' x '.join(map(str, labels.shape))}: give each image its class or its value."
        )
    return labels


def _classes(archive: Archive) -> tuple[dict[str, np.ndarray], list[str]]:
    """Positions in the class names, int64 ``[n]`` by split, and the class names."""
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


def _alternatives(form: tuple[str, str]) -> list[Keys]:
    return [Keys(form[0].format(alias), form[1].format(alias)) for alias in SPLIT_NAMES]


def _keys(present: set[str], path: Path) -> dict[str, Keys]:
    """Split -> what its arrays are called."""
    known = [
        (SPLIT_NAMES[alias], *(part.format(alias) for part in form)) for form in _SPLIT_KEYS for alias in SPLIT_NAMES
    ]
    known += [(UNNAMED, *pair) for pair in _UNSPLIT_KEYS]
    found: dict[str, Keys] = {}
    for split, images, labels in known:
        if (images in present) != (labels in present):
            here, missing = (images, labels) if images in present else (labels, images)
            raise InputError(f"An array {missing} was expected beside {here} in {path}, and there is none: add it.")
        if images in present and split in found:
            raise InputError(
                f"One array of images for each split was expected in {path}, and there are {found[split].images} and "
                f"{images}: remove one of them."
            )
        if images in present:
            found[split] = Keys(images, labels)
    if not found or (UNNAMED in found and len(found) > 1):
        raise InputError(
            f"Arrays called x_train and y_train, train_images and train_labels, images and labels, or x and y were "
            f"expected in {path}, and there are {', '.join(sorted(present)) or 'none'}: rename them."
        )
    return found


def _check_lengths(path: Path, arrays: dict[str, np.ndarray], images: str, others: str) -> None:
    counts = [arrays[key].shape[0] if arrays[key].ndim else 0 for key in (images, others)]
    if counts[0] != counts[1]:
        raise InputError(
            f"As many rows in {others} as in {images} were expected in {path}, and there are {counts[1]:,} and "
            f"{counts[0]:,}: take both from the same data."
        )


def _sorted_names(texts: np.ndarray) -> list[str]:
    names = set(texts.tolist())
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
