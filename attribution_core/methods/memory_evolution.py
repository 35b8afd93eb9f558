"""The memory-perturbation equation along a training: sensitivities and the leave-one-out loss at its checkpoints.

Nickl et al. 2023 (:mod:`attribution_core.methods.memory_perturbation`), section 4, figures 5 and 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.memory_perturbation import MemorySensitivity, PosteriorName, memory_sensitivity
from attribution_core.progress import Progress, reported
from attribution_core.training import as_pair, loss_values, mean_loss, state_of
from attribution_core.training.trainer import Data
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
    test: Data | None = None,
    parameters: str = "all",
    progress: Progress | None = None,
) -> MemoryEvolution:
    """Sensitivities at checkpoints of a training, with the covariance kept.

    The delta of the objective is ``n`` times the recipe's weight decay. At each time the cost is that of
    ``memory_sensitivity(..., variance=False)``; with ``"adam"`` and ``"iblr"``, for trainings by these, nothing but a
    backward pass and its derivative.

    Args:
        trajectory: Trained with ``record="checkpoints"``; its model is left at its final state.
        posterior: As in :func:`memory_sensitivity`.
        steps: Optimiser steps to look at, each a checkpoint, 0 or the last; by default all checkpoints.
        test: Examples to compare with.
        parameters: As in :func:`memory_sensitivity`.
        progress: Called with (done, total, what).

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
    delta = recipe.weight_decay * trajectory.num_examples
    held_out = None if test is None else as_pair(test)
    before, sensitivities, losses = state_of(model), [], []
    try:
        for step in reported(chosen, len(chosen), f"sensitivity over training, {posterior}", progress):
            model.load_state_dict(states[step])
            found = memory_sensitivity(
                model, data, delta, recipe.loss, posterior, "kept", parameters,
                trajectory.second_moments.get(step), variance=False,
            )  # fmt: skip
            sensitivities.append(found.sensitivity)
            own = loss_values(found.outputs, data[1], recipe.loss)
            held_out_loss = torch.nan if held_out is None else mean_loss(model, held_out, recipe.loss)
            losses.append([float(found.loo_loss.mean()), float(own.mean()), held_out_loss])
    finally:
        model.load_state_dict(before)
    columns = torch.tensor(losses, dtype=torch.float64)
    return MemoryEvolution(chosen, torch.stack(sensitivities), columns[:, 0], columns[:, 1], columns[:, 2], found)
