"""Torch and torchvision ``Dataset`` objects of images, passed in by a program."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
import torch.utils.data
from PIL import Image

from attribution_core.datasets.arrays import as_pixels, is_deep, levels_of, note_on_levels, pixels_then_channels
from attribution_core.datasets.decoding import deep_image, to_eight_bits
from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import Examples, Listing, Unreadable
from attribution_core.datasets.split_names import split_of, splits_of_folders
from attribution_core.datasets.targets import Task, parse_numeric_labels
from attribution_core.errors import InputError
from attribution_core.progress import track

_TARGET = "label"

# One dataset; or datasets by split name; or a tuple of train, validation and test.
TorchData: TypeAlias = (
    torch.utils.data.Dataset
    | Mapping[str, torch.utils.data.Dataset]
    | tuple[torch.utils.data.Dataset, torch.utils.data.Dataset, torch.utils.data.Dataset]
)


def read(
    data: TorchData,
    task: Task = "auto",
) -> Listing:
    """List the examples of datasets of (image, label); each is read once and kept as 8-bit pixels.

    A random transform is therefore drawn once, and the dataset need not be safe to read from several threads.

    Args:
        data: Dataset or datasets.
        task: Whether the labels are classes or values; under ``"auto"``, whole numbers are classes.

    Returns:
        The images by split; each id is the position, such as ``train/17``. Examples that raise are skipped and listed.

    Raises:
        InputError: The data are not datasets with a length, or an item is not an image with a label.
    """
    parts = split_datasets(data)
    declared = class_names(data)
    unreadable: list[Unreadable] = []
    found: dict[str, tuple[list[np.ndarray], pd.Series]] = {}
    for split, dataset in parts.items():
        images: list[np.ndarray] = []
        labels: dict[str, int | float] = {}
        for index in track(range(_length(dataset, split)), _length(dataset, split), f"reading {split}"):
            identity = f"{split}/{index}"
            try:
                item = dataset[index]
            except Exception as error:  # noqa: BLE001 -- the user's code may raise anything; the reason is kept
                unreadable.append(Unreadable(identity, str(error) or type(error).__name__))
                continue
            image, label = _pair(item, identity)
            images.append(_pixels(image, identity))
            labels[identity] = _label(label, identity)
        found[split] = (images, pd.Series(labels, dtype=None if labels else "int64"))
    numbers = pd.concat([labels for _, labels in found.values()])
    whole, names, notes = parse_numeric_labels(numbers, _TARGET, declared, task)
    ends = np.cumsum([len(labels) for _, labels in found.values()])
    scaled, notes_on_levels = _in_eight_bits({split: images for split, (images, _) in found.items()})
    examples = {
        split: Examples.without_groups(own.index.tolist(), scaled[split], labels)
        for (split, (_, own)), labels in zip(found.items(), np.split(whole, ends[:-1]), strict=True)
    }
    return Listing(examples, names, unreadable, notes_on_levels + notes, target=_TARGET)


def split_datasets(data: TorchData) -> dict[str, torch.utils.data.Dataset[Any]]:
    """Return the dataset of each split; a single dataset is "train".

    Raises:
        InputError: The data are not datasets, or a split is unknown or has two names.
    """
    if isinstance(data, tuple) and len(data) == 3:
        data = dict(zip(("train", "validation", "test"), data, strict=True))
    if not isinstance(data, Mapping):
        data = {"train": data}
    for name, dataset in data.items():
        if split_of(str(name)) is None or not isinstance(dataset, torch.utils.data.Dataset):
            raise InputError(
                "The data must be a torch Dataset, or a dict of them by train, validation and test, or a tuple of "
                f"these three, but {name!r} is of type {type(dataset).__name__}: pass datasets under those names."
            )
    splits = splits_of_folders([str(name) for name in data], "the dict of datasets")
    return {splits[str(name)]: dataset for name, dataset in data.items()}


def dataset_name(data: TorchData) -> str:
    """Return the class name of the training dataset, such as ``FashionMNIST``."""
    parts = split_datasets(data)
    return type(_innermost(parts.get("train", next(iter(parts.values()))))).__name__


def class_names(data: TorchData) -> list[str] | None:
    """Return the datasets' class names (``.classes`` or ``.class_names``, also inside subsets); None if there are none.

    Raises:
        InputError: Two splits have different class names.
    """
    lists = []
    for dataset in map(_innermost, split_datasets(data).values()):
        classes = getattr(dataset, "classes", None) or getattr(dataset, "class_names", None)
        if classes is not None:
            lists.append(_distinct([", ".join(each) if isinstance(each, tuple) else str(each) for each in classes]))
    if any(each != lists[0] for each in lists):
        raise InputError("Every split must have the same .classes, but they differ: open the splits separately.")
    return lists[0] if lists else None


def _innermost(dataset: Any) -> Any:
    while isinstance(dataset, torch.utils.data.Subset):
        dataset = dataset.dataset
    return dataset


def _distinct(names: list[str]) -> list[str]:
    """Number names that occur more than once: ImageNet has two classes called crane."""
    counts = Counter(names)
    return [f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names)]


def _length(dataset: Any, split: str) -> int:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"The dataset of the {split} split needs a length, but {type(dataset).__name__} has none: copy its "
            "examples into a dataset that has one."
        ) from error


def _pair(item: Any, identity: str) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InputError(
            f"{identity} must be a pair of image and label, but it is {_describe(item)}: return (image, label)."
        )
    return item[0], item[1]


def _pixels(image: Any, identity: str) -> np.ndarray:
    """Return the image as uint8 ``[h, w]`` or ``[h, w, 3]``, copied because a dataset may reuse its arrays.

    Whole numbers that may be beyond 0 to 255 stay as they are until the range of the whole dataset is known.
    """
    if isinstance(image, Image.Image):
        deep = deep_image(image)
        if deep is not None and deep.is_whole:
            return deep.pixels[..., 0].copy()
        try:
            return np.array(to_eight_bits(image))
        except ValueError as error:
            raise InputError(f"The image {identity} cannot be used, because {error}.") from error
    if isinstance(image, torch.Tensor | np.ndarray):
        is_tensor = isinstance(image, torch.Tensor)
        array = _as_array(image) if isinstance(image, torch.Tensor) else image
        if is_deep(array):
            return pixels_then_channels(array[None], identity, is_tensor)[0].copy()
        return as_pixels(array[None], identity, largest=1, channels_first=is_tensor)[0].copy()
    raise InputError(
        f"{identity} must be an image (PIL, tensor or NumPy array), but it is {_describe(image)}: convert it."
    )


def _as_array(image: torch.Tensor) -> np.ndarray:
    found: np.ndarray = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
    return found


def _in_eight_bits(images: dict[str, list[np.ndarray]]) -> tuple[dict[str, list[ArrayImage]], list[str]]:
    """Scale whole numbers by the range of all splits; return the images, and a note if they are beyond 0 to 255."""
    levels = levels_of(image for each in images.values() for image in each)
    scaled = {
        split: [ArrayImage(as_pixels(image[None], split, largest=1, levels=levels)[0]) for image in each]
        for split, each in images.items()
    }
    return scaled, [note_on_levels(levels)] if levels else []


def _label(label: Any, identity: str) -> int | float:
    try:
        if isinstance(label, torch.Tensor | np.ndarray):
            label = label.item()
        return float(label) if isinstance(label, float | np.floating) else operator.index(label)
    except (TypeError, ValueError, RuntimeError) as error:  # an array of several numbers
        raise InputError(
            f"The label of {identity} must be a number, but it is {_describe(label)}: convert it."
        ) from error


def _describe(value: Any) -> str:
    shape = f" of shape {list(value.shape)}" if isinstance(value, torch.Tensor | np.ndarray) else ""
    return f"a {type(value).__name__}{shape}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
