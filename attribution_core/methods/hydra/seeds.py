"""HYDRA averaged over trainings with different initial weights and batch orders.

Contributions along one trajectory are noisy: the final weights depend on the seed, and so do the contributions.
Averages over seeds are closer to the results of retraining (see the experiment ``hydra_agreement``).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.methods.hydra.contributions import Contributions, Objective, hydra
from attribution_core.progress import retitled
from attribution_core.training import Recipe, train
from attribution_core.training.trainer import LabeledData


def hydra_over_seeds(
    build: Callable[[int], nn.Module],
    data: LabeledData,
    recipe: Recipe,
    evaluation: LabeledData,
    seeds: int = 5,
    hessian: bool = False,
    objective: Objective = "each",
    energy: float = 0.98,
    rank: int | None = None,
) -> Contributions:
    """Train from several seeds and average the contributions of these trainings.

    Args:
        build: Function from a seed to a model with fresh weights, ``lambda seed: ac.build_model(..., seed=seed)``.
        data: Training examples.
        recipe: Recipe of each training; its seed is the first one, and the others follow it.
        evaluation: Evaluation examples.
        seeds: Number of trainings, two or more.
        hessian: As in :func:`hydra`.
        objective: As in :func:`hydra`.
        energy: As in :func:`hydra`.
        rank: As in :func:`hydra`.

    Returns:
        The mean effect (and its contributions by epoch), with the standard deviation over trainings in ``spread``, in
        the shape of the effect; the standard error of the mean is ``spread / sqrt(seeds)``. ``kept_energy`` is the
        smallest of all trainings, ``growth`` the largest.

    Raises:
        InputError: As in :func:`hydra`, or there are fewer than two seeds.
    """
    if seeds < 2:
        raise InputError(f"An average over seeds needs two or more seeds, not {seeds}.")

    def one_training(number: int) -> Contributions:
        seed = recipe.seed + number
        with retitled(lambda what: f"training {number + 1} of {seeds}: {what}"):
            seeded = recipe.model_copy(update={"seed": seed})
            trajectory = train(build(seed), data, seeded, validation=evaluation)
            return hydra(trajectory, evaluation, hessian, objective, energy, rank)

    total = one_training(0)
    squares = torch.zeros_like(total.effect)
    for number in range(1, seeds):
        one = one_training(number)
        # Welford's update holds two matrices for any number of seeds.
        mean = total.effect + (one.effect - total.effect) / (number + 1)
        squares += (one.effect - total.effect) * (one.effect - mean)
        total = Contributions(
            mean,
            _mean_of(total.by_epoch, one.by_epoch, number),
            _extreme(min, total.kept_energy, one.kept_energy),
            _extreme(max, total.growth, one.growth),
        )
    return replace(total, spread=(squares / (seeds - 1)).sqrt())


def _mean_of(mean: Tensor | None, new: Tensor | None, number: int) -> Tensor | None:
    return None if mean is None or new is None else mean + (new - mean) / (number + 1)


def _extreme(choose: Callable[..., float], one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else choose(one, other)
