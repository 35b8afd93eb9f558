"""Define the problems that influence functions are measured on, and retrain their networks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution_core.evaluation.retraining import random_halves, retrain_without
from attribution_core.experiments.data import Side, images_and_labels, two_classes
from attribution_core.experiments.unique_information.film_reviews import sentences, vectors
from attribution_core.models import build_model, device_named
from attribution_core.training import Recipe

EXAMPLES, EVALUATED = 1000, 500


@dataclass(frozen=True)
class Problem:
    """Define a network and its data.

    Attributes:
        name: Name of the problem.
        data: Training examples.
        evaluation: Evaluation examples.
        architecture: Name of the network in the zoo.
        hidden: Hidden sizes of the network.
        outputs: Number of classes.
        recipe: Recipe of each training.
    """

    name: str
    data: Side
    evaluation: Side
    architecture: str
    hidden: tuple[int, ...]
    outputs: int
    recipe: Recipe

    @property
    def build(self) -> Callable[[int], nn.Module]:
        """A function that builds the network with fresh weights from a seed, on the data's device."""
        shape, device = self.data[0].shape[1:], self.data[0].device
        return lambda seed: build_model(self.architecture, self.outputs, shape, self.hidden, seed=seed).to(device)

    def retrained(self, subsets: int, seeds: int, folder: Path) -> tuple[Tensor, Tensor]:
        """Retrain on random halves.

        Args:
            subsets: Number of halves.
            seeds: Trainings on each.
            folder: Folder for the file that keeps each training as it ends.

        Returns:
            The examples that each training lacks, bool ``[subsets, n]``, and the losses after it,
            ``[seeds, subsets, m]``.
        """
        removed = ~random_halves(len(self.data[0]), subsets)
        found = retrain_without(
            self.build,
            self.data,
            [row.nonzero()[:, 0].tolist() for row in removed],
            self.recipe,
            self.evaluation,
            seeds,
            keeps_places=False,
            results_file=folder / f"retrained_{self.name}.parquet",
        )
        return removed, found.losses.transpose(0, 1)


def problem(name: str, data_root: Path, device: str = "auto") -> Problem:
    """Load a problem of :data:`PROBLEMS`, with 1,000 training and 500 evaluation examples."""
    found, target = _problem(name, data_root), device_named(device)
    data, evaluation = ((inputs.to(target), labels.to(target)) for inputs, labels in (found.data, found.evaluation))
    return replace(found, data=data, evaluation=evaluation)


def _problem(name: str, data_root: Path) -> Problem:
    recipe = Recipe(learning_rate=0.02, epochs=20, batch_size=64)
    if name == "cats-dogs":
        inputs, labels = two_classes(data_root, "cifar10", EXAMPLES + EVALUATED, classes=(3, 5))
        channels = inputs[:EXAMPLES].transpose(0, 1).flatten(1)
        inputs = (inputs - channels.mean(dim=1)[:, None, None]) / channels.std(dim=1)[:, None, None]
        data, evaluation = (inputs[:EXAMPLES], labels[:EXAMPLES]), (inputs[EXAMPLES:], labels[EXAMPLES:])
        return Problem(name, data, evaluation, "cnn4", (), 2, recipe)
    if name == "reviews":
        texts, labels = sentences(data_root / "text")
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[: EXAMPLES + EVALUATED]
        rows = vectors([texts[place] for place in order.tolist()], "tfidf")
        rows, labels = rows * rows.shape[1] ** 0.5, labels[order]  # entries of mean square one, as of images
        data, evaluation = (rows[:EXAMPLES], labels[:EXAMPLES]), (rows[EXAMPLES:], labels[EXAMPLES:])
        return Problem(name, data, evaluation, "mlp", (256,), 2, recipe)
    data, validation, _ = images_and_labels(data_root / name, EXAMPLES, EVALUATED)
    if name == "mnist":
        return Problem(name, data, validation, "mlp", (256,), 10, recipe)
    return Problem(name, data, validation, "lenet5", (), 10, recipe)


PROBLEMS = ("mnist", "cats-dogs", "fashion-mnist", "reviews")
