"""The memory-perturbation equation along a training: sensitivities and the leave-one-out loss at its checkpoints.

Nickl et al. 2023 (:mod:`attribution_core.methods.sensitivity.perturbation`), section 4, figures 5 and 6.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.sensitivity.perturbation import MemorySensitivity, PosteriorName, memory_sensitivity
from attribution_core.progress import silenced, track
from attribution_core.training import as_pair, loss_values, mean_loss, state_of
from attribution_core.training.trainer import LabeledData
from attribution_core.training.trajectory import Trajectory


@dataclass(frozen=True)
class MemoryEvolution:
    """What the model was sensitive to, and how it was to generalise, as it was trained.

    Attributes:
        steps: Of the optimiser, at which it was looked at.
        sensitivity: Of every training example, ``[times, n]``.
        loo_loss: Estimated leave-one-out loss, mean over the training examples (eq. 19), ``[times]``.
        train_loss: Mean over the training examples, ``[times]``.
        test_loss: Mean over the test examples, ``[times]``; NaN without any.
        last: All there is at the last time.
    """

    steps: list[int]
    sensitivity: Tensor
    loo_loss: Tensor
    train_loss: Tensor
    test_loss: Tensor
    last: MemorySensitivity

    def grouped(self, groups: int = 200) -> Tensor:
        """Figure 6: examples in order of their last sensitivity, largest first, in ``groups`` of neighbours.

        Returns:
            Mean sensitivity of each group at each time, ``[times, groups]``.

        Raises:
            InputError: More groups than examples, or none.
        """
        if not 1 <= groups <= self.sensitivity.shape[1]:
            raise InputError(f"{self.sensitivity.shape[1]:,} examples make up to so many groups, not {groups:,}.")
        order = self.sensitivity[-1].argsort(descending=True, stable=True)
        return torch.stack([part.mean(dim=1) for part in self.sensitivity[:, order].tensor_split(groups, dim=1)], dim=1)


def memory_evolution(
    trajectory: Trajectory,
    posterior: PosteriorName = "diagonal",
    steps: Sequence[int] | None = None,
    test: LabeledData | None = None,
    parameters: str = "all",
    early_stopping: bool = False,
    along_error: bool = False,
) -> MemoryEvolution:
    """Sensitivities at checkpoints of a training, with the covariance kept.

    The delta of the objective is ``n`` times the recipe's weight decay. At each time the cost is that of
    ``memory_sensitivity(..., variance="none")``; with ``"adam"`` and ``"iblr"``, for trainings by these, nothing but a
    backward pass and its derivative.

    Args:
        trajectory: Trained with ``record="checkpoints"``; its model is left at its final state.
        posterior: As in :func:`memory_sensitivity`.
        steps: Optimiser steps to look at, each a checkpoint, 0 or the last; by default all checkpoints.
        test: Examples to compare with.
        parameters: As in :func:`memory_sensitivity`.
        early_stopping: Count the time trained as regularisation, by :func:`regularisation_at`, since a network that
            was trained for a short time cannot depend on an example as much as one at the minimum.
        along_error: As in :func:`memory_sensitivity`: about half the time for a close estimate.

    Raises:
        InputError: A step without a checkpoint, a recipe without weight decay, or what :func:`memory_sensitivity`
            refuses.
    """
    recipe, model, data = trajectory.recipe, trajectory.model, trajectory.data
    states = {0: trajectory.initial, **trajectory.checkpoints, trajectory.steps: trajectory.final}
    chosen = sorted(trajectory.checkpoints or [trajectory.steps]) if steps is None else list(steps)
    missing = [step for step in chosen if step not in states]
    if missing or not chosen:
        raise InputError(
            f"There is no checkpoint after step {missing[0] if missing else None}: train with record='checkpoints', "
            f"and choose among {', '.join(str(step) for step in sorted(states)[:8])}, ..."
        )
    held_out = None if test is None else as_pair(test)
    before, sensitivities, losses = state_of(model), [], []
    try:
        for step in track(chosen, len(chosen), f"sensitivity over training, {posterior}"):
            model.load_state_dict(states[step])
            decay = regularisation_at(trajectory, step) if early_stopping else recipe.weight_decay
            delta = decay * trajectory.num_examples
            with silenced():
                found = memory_sensitivity(
                    model, data, delta, recipe.loss, posterior, "kept", parameters,
                    trajectory.second_moments.get(step), variance="none", along_error=along_error,
                )  # fmt: skip
            sensitivities.append(found.sensitivity)
            own = loss_values(found.outputs, data[1], recipe.loss)
            held_out_loss = torch.nan if held_out is None else mean_loss(model, held_out, recipe.loss)
            losses.append([float(found.loo_loss.mean()), float(own.mean()), held_out_loss])
    finally:
        model.load_state_dict(before)
    columns = torch.tensor(losses, dtype=torch.float64)
    return MemoryEvolution(chosen, torch.stack(sensitivities), columns[:, 0], columns[:, 1], columns[:, 2], found)


def regularisation_at(trajectory: Trajectory, step: int) -> float:
    """Weight decay of the mean loss whose minimum is about where training was after so many steps.

    On a quadratic loss, gradient flow for a time t takes the part ``1 - exp(-t x)`` of the way in a direction of
    curvature x, and the minimum with weight decay ``1/t`` lies ``x / (x + 1/t)`` of the way (Ali et al. 2019, "A
    continuous-time view of early stopping for least squares": within a factor of 1.7 everywhere). So ``1/t`` adds to
    the recipe's own. The time is the sum of the rates over ``1 - momentum`` for SGD; for other optimisers, whose steps
    are not multiples of the gradient, nothing is added.
    """
    recipe = trajectory.recipe
    if recipe.optimizer != "sgd":
        return recipe.weight_decay
    time = sum(trajectory.rates[:step]) / (1 - recipe.momentum)
    return recipe.weight_decay + (1 / time if time else math.inf)
