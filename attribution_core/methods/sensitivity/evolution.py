"""The memory-perturbation equation during training: sensitivities and leave-one-out loss at the checkpoints.

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
from attribution_core.training import as_pair, loss_values, mean_loss
from attribution_core.training.trainer import LabeledData
from attribution_core.training.trajectory import Trajectory


@dataclass(frozen=True)
class MemoryEvolution:
    """Sensitivities and estimated generalization of a model during its training.

    Attributes:
        steps: Optimizer steps of the evaluations.
        sensitivity: Sensitivity of every training example, ``[times, n]``.
        loo_loss: Estimated leave-one-out loss, mean over the training examples (eq. 19), ``[times]``.
        train_loss: Mean loss of the training examples, ``[times]``.
        test_loss: Mean loss of the test examples, ``[times]``; NaN without test examples.
        last: All results at the last time.
    """

    steps: list[int]
    sensitivity: Tensor
    loo_loss: Tensor
    train_loss: Tensor
    test_loss: Tensor
    last: MemorySensitivity

    def grouped(self, groups: int = 200) -> Tensor:
        """Return the mean sensitivity of groups of examples with similar final sensitivity (figure 6).

        Examples are sorted by their sensitivity at the last time, largest first, and split into ``groups``.

        Returns:
            Mean sensitivity of each group at each time, ``[times, groups]``.

        Raises:
            InputError: There are more groups than examples, or none.
        """
        if not 1 <= groups <= self.sensitivity.shape[1]:
            raise InputError(
                f"Expected from 1 to {self.sensitivity.shape[1]:,} groups, the number of examples, not {groups:,}."
            )
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
    """Compute sensitivities at the checkpoints of a training, with the covariance kept.

    The delta of the objective is ``n`` times the recipe's weight decay. At each time the cost is that of
    ``memory_sensitivity(..., variance="none")``; for trainings by Adam or iBLR with the posterior of that name, only a
    backward pass and its derivative.

    Args:
        trajectory: Training with ``record="checkpoints"``; its model is left at its final state.
        posterior: As in :func:`memory_sensitivity`.
        steps: Optimizer steps to evaluate; each must be a checkpoint, 0 or the last step. None uses all checkpoints.
        test: Test examples to compare with.
        parameters: As in :func:`memory_sensitivity`.
        early_stopping: Whether to count the training time as regularization, by :func:`regularization_at`: a network
            that was trained for a short time cannot depend on an example as much as one at the minimum.
        along_error: As in :func:`memory_sensitivity`, at all times but the last: a close estimate in about half the
            time. On the demo's network (five times, kfac) the mean sensitivity was 0.2% to 0.7% above the whole's, its
            rank correlation 0.995 to 1.000, and the leave-one-out loss at most 0.3% above.

    Raises:
        InputError: A step has no checkpoint, the recipe has no weight decay, or :func:`memory_sensitivity` raises it.
    """
    recipe, data = trajectory.recipe, trajectory.data
    chosen = sorted(trajectory.checkpoints or [trajectory.steps]) if steps is None else list(steps)
    trajectory.require_states(chosen)
    held_out = None if test is None else as_pair(test)
    sensitivities, losses = [], []
    for step in track(chosen, len(chosen), f"sensitivity over training, {posterior}"):
        decay = regularization_at(trajectory, step) if early_stopping else recipe.weight_decay
        delta = decay * trajectory.num_examples
        quick = along_error and step != chosen[-1]
        with trajectory.at(step) as model:
            with silenced():
                found = memory_sensitivity(
                    model, data, delta, recipe.loss, posterior, "kept", parameters,
                    trajectory.second_moments.get(step), variance="none", along_error=quick,
                )  # fmt: skip
            held_out_loss = torch.nan if held_out is None else mean_loss(model, held_out, recipe.loss)
        sensitivities.append(found.sensitivity)
        own = loss_values(found.outputs, data[1], recipe.loss)
        losses.append([float(found.loo_loss.mean()), float(own.mean()), held_out_loss])
    columns = torch.tensor(losses, dtype=torch.float64)
    return MemoryEvolution(chosen, torch.stack(sensitivities), columns[:, 0], columns[:, 1], columns[:, 2], found)


def regularization_at(trajectory: Trajectory, step: int) -> float:
    """Return the weight decay for which the minimum of the mean loss is approximately the state after ``step`` steps.

    On a quadratic loss, gradient flow for a time t covers the share ``1 - exp(-t x)`` of the way in a direction of
    curvature x, and the minimum with weight decay ``1/t`` is at the share ``x / (x + 1/t)`` (Ali et al. 2019, "A
    continuous-time view of early stopping for least squares": within a factor of 1.7 everywhere). So ``1/t`` is added
    to the recipe's weight decay. For SGD the time is the sum of the learning rates divided by ``1 - momentum``. For
    other optimizers, whose steps are not multiples of the gradient, nothing is added.
    """
    recipe = trajectory.recipe
    if recipe.optimizer != "sgd":
        return recipe.weight_decay
    time = sum(trajectory.rates[:step]) / (1 - recipe.momentum)
    return recipe.weight_decay + (1 / time if time else math.inf)
