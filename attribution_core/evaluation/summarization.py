"""Summarize datasets: how much can be removed, and in which order (unique information, section 5, figure 2c).

Two examples that duplicate each other both have low unique information, so removing all of the least informative at
once loses what they share. :func:`removal_order` therefore rescores the remaining examples after each step (in the
paper, every 5%).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from scipy.stats import t as student
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.evaluation.retraining import Removal, Trainer, accuracy, retrainings
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import report, silenced

Strategy = Literal["bottom", "bottom iterative", "top", "random"]
STRATEGIES: tuple[Strategy, ...] = ("bottom", "bottom iterative", "top", "random")
FRACTIONS = tuple(round(0.1 * tenth, 1) for tenth in range(10))

# Scores of the remaining examples, from their indices: ``[kept]`` -> ``[kept]``, larger for more informative.
ScoresOf = Callable[[Tensor], Tensor]
# Accuracies after training without the removed examples, from pairs of removed indices and a seed.
AccuraciesOf = Callable[[Sequence[tuple[list[int], int]]], Sequence[float]]


@dataclass(frozen=True)
class SummarizationCurve:
    """Hold the test accuracy against the share of the training examples that was removed.

    Attributes:
        fractions: Shares removed, ``[f]``.
        accuracy: Accuracy by strategy, ``[f, seeds]`` each.
    """

    fractions: tuple[float, ...]
    accuracy: dict[str, Tensor]

    def interval(self, strategy: str) -> tuple[Tensor, Tensor]:
        """Return the mean over seeds and half the width of its 95% interval (Student's t; NaN for one), ``[f]``."""
        values = self.accuracy[strategy]
        seeds = values.shape[1]
        if seeds < 2:
            return values.mean(dim=1), torch.full((len(values),), math.nan, dtype=values.dtype)
        return values.mean(dim=1), student.ppf(0.975, seeds - 1) * values.std(dim=1) / seeds**0.5

    def advantage(self, strategy: str, other: str, fraction: float) -> tuple[float, float]:
        """Return the mean difference of two strategies' accuracies by seed, and half the width of its 95% interval."""
        row = self.fractions.index(fraction)
        difference = (self.accuracy[strategy][row] - self.accuracy[other][row])[None]
        mean, width = SummarizationCurve((fraction,), {"difference": difference}).interval("difference")
        return float(mean[0]), float(width[0])


def scores_by_information(linear: LinearizedModel, schedule: GradientDescent) -> ScoresOf:
    """Return a function that computes the F-SI of the remaining examples in the linearized model trained on them."""

    def scores_of(kept: Tensor) -> Tensor:
        with silenced():
            return functional_sample_information(linear.trained_on(kept), schedule)

    return scores_of


def removal_order(
    scores_of: ScoresOf,
    labels: Tensor,
    strategy: Strategy,
    balanced: bool = False,
    step: float = 0.05,
    seed: int = 0,
) -> Tensor:
    """Return the order in which to remove the training examples.

    Args:
        scores_of: Function that scores the remaining examples.
        labels: Classes, ``[n]``.
        strategy: ``"bottom"``: least informative first, scored once; ``"bottom iterative"``: least informative first,
            rescored whenever a share ``step`` of all was removed; ``"top"``: most informative first, scored once; or
            ``"random"``.
        balanced: Whether to preserve the shares of the classes, by ranking each example within its own class.
        step: Share of all examples to remove before rescoring.
        seed: Seed of ``"random"``.

    Returns:
        Indices ``[n]`` in the order of removal.

    Raises:
        InputError: The strategy does not exist, or the step is outside (0, 1].
    """
    if strategy not in STRATEGIES or not 0 < step <= 1:
        raise InputError(
            f"Choose a strategy from {', '.join(STRATEGIES)} and a step in (0, 1], not {strategy!r} and {step}."
        )
    n = len(labels)
    labels, left = labels.cpu(), torch.arange(n)
    sizes = labels.bincount() if balanced else None
    if strategy != "bottom iterative":
        if strategy == "random":
            scores = torch.rand(n, generator=torch.Generator().manual_seed(seed))
        else:
            scores = scores_of(left).cpu() * (-1 if strategy == "top" else 1)
        return _lowest_first(scores, labels, sizes)
    at_once, gone = max(1, round(step * n)), []
    while len(left):
        order = _lowest_first(scores_of(left).cpu(), labels[left], sizes)
        gone.append(left[order[:at_once]])
        left = left[order[at_once:].sort().values]
        report(n - len(left), n, "scoring remaining examples")
    return torch.cat(gone)


def summarization_curve(
    orders: Mapping[str, Sequence[Tensor]],
    accuracies_of: AccuraciesOf,
    fractions: Sequence[float] = FRACTIONS,
) -> SummarizationCurve:
    """Measure the accuracy after removing the first examples of each order.

    Args:
        orders: For each strategy, one order of removal of all examples for each seed.
        accuracies_of: :func:`retrained_accuracies`, :func:`linear_accuracies` or a function of your own.
        fractions: Shares to remove, in [0, 1).

    Raises:
        InputError: A fraction is outside [0, 1), or leaves no example.
    """
    removals = []
    for order, seed in _each(orders):
        for fraction in fractions:
            count = round(fraction * len(order))
            if not 0 <= fraction < 1 or count >= len(order):
                raise InputError(f"A fraction to remove must be in [0, 1) and leave an example, not {fraction}.")
            removals.append((sorted(order[:count].tolist()), seed))
    found = torch.tensor(accuracies_of(removals), dtype=torch.float64).reshape(len(orders), -1, len(fractions))
    return SummarizationCurve(tuple(fractions), {name: rows.T for name, rows in zip(orders, found, strict=True)})


def retrained_accuracies(
    trainer: Trainer,
    processes: int = 0,
    results_file: Path | None = None,
) -> AccuraciesOf:
    """Return a function that measures accuracies on the trainer's evaluation examples by real retraining."""

    def accuracies(removals: Sequence[tuple[list[int], int]]) -> list[float]:
        wanted = [Removal(tuple(removed), seed, False) for removed, seed in removals]
        done = retrainings(trainer, wanted, processes, results_file)
        return [done[each].accuracy for each in wanted]

    return accuracies


def linear_accuracies(
    models: Sequence[LinearizedModel],
    schedule: GradientDescent,
    labels: Tensor,
) -> AccuraciesOf:
    """Return a function that measures accuracies of linearized models trained in closed form on the remaining examples.

    Args:
        models: Linearized models, one for each seed, of all training examples, evaluated on the test examples.
        schedule: Training schedule of the models.
        labels: Classes of the test examples, ``[m]``; with one output, 0 and 1, separated at 1/2.
    """

    def accuracies(removals: Sequence[tuple[list[int], int]]) -> list[float]:
        found = []
        for number, (removed, seed) in enumerate(removals):
            kept = torch.ones(models[seed].num_train, dtype=torch.bool)
            kept[removed] = False
            outputs = models[seed].trained_on(kept.nonzero()[:, 0]).predictions(schedule).cpu()
            found.append(accuracy(outputs, labels.cpu(), "mse"))
            report(number + 1, len(removals), "linearized training")
        return found

    return accuracies


def _each(orders: Mapping[str, Sequence[Tensor]]) -> list[tuple[Tensor, int]]:
    return [(order, seed) for by_seed in orders.values() for seed, order in enumerate(by_seed)]


def _lowest_first(scores: Tensor, labels: Tensor, sizes: Tensor | None) -> Tensor:
    """Order examples by score or, given class sizes, by their rank within their class as a share of its size."""
    if sizes is None:
        return scores.argsort(stable=True)
    places = torch.zeros(len(scores), dtype=torch.float64)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        ranks = scores[members].argsort(stable=True).argsort(stable=True)
        gone = sizes[label] - len(members)
        places[members] = (gone + ranks.double() + 0.5) / sizes[label]
    return places.argsort(stable=True)
