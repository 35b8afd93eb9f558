"""Load the problems that the experiments share."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attribution_core.datasets import as_tensors, open_dataset, pixel_statistics
from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_influence import relu_ntk
from attribution_core.methods.linearized.model import LinearizedModel

Side = tuple[Tensor, Tensor]

# Folder under --data-root, and the two classes of the task: digits 4 and 9, airplanes and automobiles.
PAIRS = {"mnist": (4, 9), "cifar10": (0, 1)}


def two_classes(
    data_root: Path, name: str, count: int, classes: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Draw training images of two classes at random, always the same ones, since a file may be sorted by class.

    Args:
        data_root: Folder that holds ``mnist/`` and ``cifar10/``.
        name: Folder of the dataset, ``"mnist"`` or ``"cifar10"``.
        count: Number of images.
        classes: The two classes; by default those of :data:`PAIRS`.

    Returns:
        Inputs ``[count, channels, side, side]`` with pixels in 0..1, and labels ``[count]``; 1 is the second class.

    Raises:
        InputError: The dataset has too few images of the two classes.
    """
    first, second = classes or PAIRS[name]
    train = open_dataset(data_root / name).train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [i for i in order if train.labels[i] in (first, second)][:count]
    if len(chosen) < count:
        raise InputError(
            f"The experiment needs {count} images of the two classes, but {data_root / name} has {len(chosen)}."
        )
    inputs, labels = as_tensors(train.subset(chosen), size=None, statistics=None)
    return inputs, (labels == second).long()


def unit_norm_problem(data_root: Path, name: str, train: int, evaluation: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Load images of norm 1 with targets -1 and 1, as in the paper on NTK influence.

    Returns:
        Training inputs ``[train, d]`` and targets ``[train, 1]``, then the same for evaluation; float32.
    """
    inputs, labels = two_classes(data_root, name, train + evaluation)
    flat = torch.nn.functional.normalize(inputs.flatten(1), dim=1)
    targets = 2.0 * labels[:, None] - 1.0
    return flat[:train], targets[:train], flat[train:], targets[train:]


def infinitely_wide(
    inputs: Tensor, targets: Tensor, evaluation_inputs: Tensor, evaluation_targets: Tensor
) -> LinearizedModel:
    """Return the two-layer ReLU network of infinite width (NTK influence, eq. 4), whose outputs start from zero."""
    kernels = relu_ntk(inputs, inputs), relu_ntk(evaluation_inputs, inputs)
    zeros = torch.zeros_like(targets), torch.zeros_like(evaluation_targets)
    return LinearizedModel.from_kernels(*kernels, *zeros, targets, evaluation_targets)


def images_and_labels(path: Path, train: int, validation: int) -> tuple[Side, Side, Side]:
    """Load standardized images of a dataset with their labels, for training, validation and test.

    Args:
        path: Path of the dataset.
        train: Number of training images, the first ones; all if there are fewer.
        validation: Number of validation images, the first ones; all if there are fewer.

    Returns:
        The training images, the validation images and all test images, each with labels.
    """
    splits = open_dataset(path)
    parts = [splits.train.subset(range(min(train, len(splits.train))))]
    parts += [splits.validation.subset(range(min(validation, len(splits.validation)))), splits.test]
    statistics = pixel_statistics(parts[0], size=None)
    sides = [as_tensors(part, size=None, statistics=statistics) for part in parts]
    return sides[0], sides[1], sides[2]


def table(path: Path, test_share: float = 0.1) -> tuple[Side, Side]:
    """Read a table of numbers separated by blanks whose last column is the target, as training and test examples.

    Every column is standardized by the training examples. The test examples are drawn at random, always the same ones.

    Raises:
        InputError: The file cannot be read as such a table.
    """
    try:
        values = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}.") from error
    order = np.random.default_rng(0).permutation(len(values))
    return _standardized(values[order, :-1], values[order, -1:], test_share, True)


def cancer() -> tuple[Side, Side]:
    """Load breast cancer (UCI, from scikit-learn): standardized features and classes, for training and test."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(found.target))
    return _standardized(found.data[order], found.target[order], 0.2, False)


def _standardized(inputs: np.ndarray, targets: np.ndarray, test_share: float, values: bool) -> tuple[Side, Side]:
    count = round(len(inputs) * (1 - test_share))
    inputs = (inputs - inputs[:count].mean(axis=0)) / inputs[:count].std(axis=0)
    if values:
        targets = (targets - targets[:count].mean(axis=0)) / targets[:count].std(axis=0)
    x, y = torch.from_numpy(inputs).float(), torch.from_numpy(targets)
    y = y.float() if values else y.long()
    return (x[:count], y[:count]), (x[count:], y[count:])


def with_wrong_labels(labels: Tensor, share: float, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Change ``round(share n)`` labels to another class at random; return them, and which are wrong, bool ``[n]``."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]] = True
    shifts = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(wrong, (labels + shifts) % classes, labels), wrong
