"""Pretrain networks on some classes of CIFAR-10, for tasks on its other classes.

They replace the networks pretrained on ImageNet that the papers start from.
"""

import torch
from torch import nn

from attribution_core.datasets import Dataset, as_tensors
from attribution_core.errors import InputError
from attribution_core.experiments.data import Side
from attribution_core.experiments.reports import print_progress
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import Recipe, train

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECIPE = Recipe(learning_rate=0.05, weight_decay=5e-4, batch_size=128, epochs=5, schedule="cosine")


def drawn(split: Dataset, counts: dict[str, int], seed: int) -> Side:
    """Draw images of some classes of CIFAR-10 at random and shuffle them.

    Args:
        split: A split of CIFAR-10.
        counts: Number of images of each class, by name.
        seed: Seed of the draw.

    Returns:
        Inputs ``[n, 3, 32, 32]`` with pixels in -1..1, and labels ``[n]``, positions in :data:`CLASSES`.

    Raises:
        InputError: A class has too few images.
    """
    generator = torch.Generator().manual_seed(seed)
    order, labels = torch.randperm(len(split), generator=generator), torch.from_numpy(split.labels)
    chosen = []
    for name, count in counts.items():
        members = order[labels[order] == CLASSES.index(name)][:count]
        if len(members) < count:
            raise InputError(
                f"The experiment needs {count} images of the class {name}, but CIFAR-10 has {len(members)} here."
            )
        chosen.append(members)
    together = torch.cat(chosen)
    together = together[torch.randperm(len(together), generator=generator)]
    inputs, labels = as_tensors(split.subset(together.numpy()), size=None, statistics=None)
    return 2 * inputs - 1, labels


def cats_and_dogs(split: Dataset, count: int, seed: int) -> Side:
    """Draw ``count`` images of CIFAR-10, half of them cats (label 0) and half dogs (label 1)."""
    inputs, kinds = drawn(split, {"cat": count // 2, "dog": count - count // 2}, seed)
    return inputs, (kinds == CLASSES.index("dog")).long()


def pretrained(name: str, split: Dataset, task: tuple[str, ...], images: int, seed: int) -> nn.Sequential:
    """Train a network of the zoo to classify the classes of CIFAR-10 that a task does not use.

    Args:
        name: Name of the network, which must be a sequence of layers.
        split: Training images of CIFAR-10.
        task: Names of the classes that the network must not see.
        images: Number of images to train on.
        seed: Seed of the images, the initial weights and the order of the batches.

    Raises:
        InputError: The network is not a sequence of layers, or there are too few images.
    """
    others = [each for each in CLASSES if each not in task]
    inputs, labels = drawn(split, dict.fromkeys(others, images // len(others)), seed)
    positions = torch.tensor([others.index(each) if each in others else -1 for each in CLASSES])
    model = build_model(name, len(others), inputs.shape[1:], seed=seed)
    with listening(print_progress):
        train(model, (inputs, positions[labels]), RECIPE.model_copy(update={"seed": seed}))
    if not isinstance(model, nn.Sequential):
        raise InputError(
            f"{name} is not a sequence of layers, so its head cannot be replaced. Use mlp, lenet5 or cnn4."
        )
    return model


def with_new_head(model: nn.Sequential, outputs: int, seed: int) -> nn.Sequential:
    """Return the same network, sharing its weights, with a newly drawn last linear layer.

    Raises:
        InputError: The last layer is not linear.
    """
    *body, last = model.children()
    if not isinstance(last, nn.Linear):
        raise InputError(f"A new head replaces a linear last layer, but the last layer is {type(last).__name__}.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(*body, nn.Linear(last.in_features, outputs))
