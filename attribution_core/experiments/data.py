"""The problems that the experiments share."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attribution_core.datasets import as_tensors, open_dataset, pixel_statistics
from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_influence import relu_ntk
from attribution_core.methods.linearized.model import LinearizedModel

Side = tuple[Tensor, Tensor]

# Folder under --data-root, and the two classes told apart: digits 4 and 9, airplanes and automobiles.
PAIRS = {"mnist": (4, 9), "cifar10": (0, 1)}


def two_classes(
    data_root: Path, name: str, count: int, classes: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Training images of two classes, drawn at random (always the same), since a file may be sorted by class.

    Args:
        data_root: Folder that holds ``mnist/`` and ``cifar10/``.
        name: One of them.
        count: How many images.
        classes: Which; by default those of :data:`PAIRS`.

    Returns:
        Inputs ``[count, channels, side, side]`` with pixels in 0..1, and labels ``[count]``; 1 is the second class.

    Raises:
        InputError: Too few images.
    """
    first, second = classes or PAIRS[name]
    train = open_dataset(data_root / name).train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [i for i in order if train.labels[i] in (first, second)][:count]
    if len(chosen) < count:
        raise InputError(f"{data_root / name} has {len(chosen)} images of the two classes, fewer than {count}.")
    inputs, labels = as_tensors(train.subset(chosen), size=None, statistics=None)
    return inputs, (labels == second).long()


def unit_norm_problem(data_root: Path, name: str, train: int, evaluation: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of norm 1 with targets -1 and 1, as NTK influence takes them.

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
    """The two-layer ReLU network of infinite width (NTK influence, eq. 4), whose outputs start from zero."""
    kernels = relu_ntk(inputs, inputs), relu_ntk(evaluation_inputs, inputs)
    zeros = torch.zeros_like(targets), torch.zeros_like(evaluation_targets)
    return LinearizedModel.from_kernels(*kernels, *zeros, targets, evaluation_targets)


def images_and_labels(path: Path, train: int, validation: int) -> tuple[Side, Side, Side]:
    """Images of a dataset, standardised, with their labels: for training, for validation, and all of the test images.

    Args:
        path: Of the dataset.
        train: How many of its training images, from the first on; all where there are fewer.
        validation: The same for those set aside from them.
    """
    splits = open_dataset(path)
    parts = [splits.train.subset(range(min(train, len(splits.train))))]
    parts += [splits.validation.subset(range(min(validation, len(splits.validation)))), splits.test]
    statistics = pixel_statistics(parts[0], size=None)
    sides = [as_tensors(part, size=None, statistics=statistics) for part in parts]
    return sides[0], sides[1], sides[2]


def table(path: Path, test_share: float = 0.1) -> tuple[Side, Side]:
    """A table of numbers separated by blanks, the last column being the target: training and test examples.

    Every column is standardised by the training examples; which are for the test is drawn at random, always the same.

    Raises:
        InputError: It can't be read as such a table.
    """
    try:
        values = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}.") from error
    order = np.random.default_rng(0).permutation(len(values))
    return _standardised(values[order, :-1], values[order, -1:], test_share, True)


def cancer() -> tuple[Side, Side]:
    """Breast cancer (UCI, from scikit-learn): standardised features and classes, for training and test."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(found.target))
    return _standardised(found.data[order], found.target[order], 0.2, False)


def _standardised(inputs: np.ndarray, targets: np.ndarray, test_share: float, values: bool) -> tuple[Side, Side]:
    count = round(len(inputs) * (1 - test_share))
    inputs = (inputs - inputs[:count].mean(axis=0)) / inputs[:count].std(axis=0)
    if values:
        targets = (targets - targets[:count].mean(axis=0)) / targets[:count].std(axis=0)
    x, y = torch.from_numpy(inputs).float(), torch.from_numpy(targets)
    y = y.float() if values else y.long()
    return (x[:count], y[:count]), (x[count:], y[count:])


def with_wrong_labels(labels: Tensor, share: float, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """``round(share n)`` labels changed to another at random: the labels, and which are wrong, bool ``[n]``."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]] = True
    shifts = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(wrong, (labels + shifts) % classes, labels), wrong
