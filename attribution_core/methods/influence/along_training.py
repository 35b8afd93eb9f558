r"""Influence functions averaged over checkpoints of a training.

At one set of weights, influence functions know the loss near these weights only, and the gradients of examples that
are fitted by then are noise. Over T checkpoints of the same training, each with its own curvature and damping,

    effect[i, j] = (1/T) sum_t (1/n) grad l_j(w_t)^T (C_t + damping_t I)^{-1} grad l_i(w_t),

the noise averages out, as it does over trainings from several seeds, each of which would cost a training. The curvature
is by default the empirical one, ``C_t = (1/n) sum_i grad l_i grad l_i^T``, whose dual form for n examples is an n x n
matrix (:mod:`attribution_core.methods.influence.spectrum`), so that a checkpoint takes one backward pass for each
example, training and evaluation, and an eigendecomposition of size n, or of a sketch's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.influence.functions import spectrum_for
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import silenced, track
from attribution_core.training import Trajectory, as_pair
from attribution_core.training.trainer import LabeledData, state_of

# Checkpoints that are used by default, evenly spaced over this part of the training: before it the network has not yet
# learned what most examples tell, after it it has fitted them.
CHECKPOINTS = 8
_SPAN = (0.2, 0.9)
# Default damping, as a share of the largest eigenvalue of each checkpoint's curvature.
SHARE = 0.005


@dataclass(frozen=True)
class InfluenceAlongTraining:
    """Influence of training examples, averaged over checkpoints.

    Attributes:
        effect: Loss after the removal of i minus before, on evaluation example j, ``[n, m]``.
        self_influence: The same of i on itself, ``[n]``.
        steps: Optimizer steps of the checkpoints.
        damping: Damping used at each, those of a second trajectory after those of the first.
    """

    effect: Tensor
    self_influence: Tensor
    steps: tuple[int, ...]
    damping: tuple[float, ...]


def influence_along_training(
    trajectory: Trajectory | Sequence[Trajectory],
    evaluation: LabeledData,
    options: InfluenceOptions | None = None,
    steps: Sequence[int] | None = None,
    **keywords: Unpack[InfluenceKeywords],
) -> InfluenceAlongTraining:
    """Return the influence of every training example on every evaluation example, averaged over a training.

    Args:
        trajectory: Training with ``record="checkpoints"``, or several on the same examples from other seeds, whose
            effects are averaged as well; the models are left as they were.
        evaluation: Evaluation examples.
        options: How to compute influence at a checkpoint. The default curvature is ``"empirical"``, and the solver must
            be ``"sketch"`` (the default) or ``"exact"``. A ``damping`` replaces the default one, a share of the largest
            eigenvalue, at every checkpoint; ``loss`` and ``ensemble`` are the trajectories'.
        steps: Optimizer steps to use; each must be a checkpoint, 0 or the last step. By default eight of these, spaced
            evenly from a fifth to nine tenths of the training.
        **keywords: Fields of :class:`InfluenceOptions` that replace those of ``options``.

    Returns:
        The effects, on the model's device.

    Raises:
        InputError: A step has no checkpoint, the trajectories differ in their steps, or the options cannot be used.
    """
    trajectories = [trajectory] if isinstance(trajectory, Trajectory) else list(trajectory)
    given = options or InfluenceOptions(curvature="empirical")
    chosen = replace(given.with_keywords("sketch", **keywords), loss=trajectories[0].recipe.loss)
    if chosen.solver not in ("sketch", "exact") or chosen.ensemble:
        raise InputError(
            f'Influence along training needs solver="sketch" or "exact" and no ensemble, for which it takes several '
            f"trajectories; the solver is {chosen.solver!r}, and the ensemble has {len(chosen.ensemble)} models."
        )
    used = [_steps_of(each, steps) for each in trajectories]
    if any(each != used[0] for each in used):
        raise InputError("The trajectories must have the same checkpoints: train them by the same recipe.")
    side = as_pair(evaluation)
    places = [(each, step) for each in trajectories for step in used[0]]
    effect, own, damping = torch.zeros(()), torch.zeros(()), []
    for each, step in track(places, len(places), "influence along training"):
        with silenced():
            here, of_itself, damped = _at(each, step, side, chosen)
        effect = effect.to(here) + here / len(places)
        own = own.to(of_itself) + of_itself / len(places)
        damping.append(damped)
    return InfluenceAlongTraining(effect, own, tuple(used[0]), tuple(damping))


def _at(
    trajectory: Trajectory, step: int, side: InputsAndTargets, options: InfluenceOptions
) -> tuple[Tensor, Tensor, float]:
    """Return effects, self-influence and damping at one checkpoint, and restore the model."""
    model, before = trajectory.model, state_of(trajectory.model)
    try:
        model.load_state_dict(trajectory.states[step])
        spectrum = spectrum_for(model, trajectory.data, side, options)
    finally:
        model.load_state_dict(before)
    damping = options.damping or SHARE * float(spectrum.values[-1:].sum())
    return spectrum.effects(damping), spectrum.self_influence(damping), damping


def _steps_of(trajectory: Trajectory, steps: Sequence[int] | None) -> list[int]:
    """Return the steps that were asked for, or the checkpoints nearest to evenly spaced ones."""
    if steps is not None:
        trajectory.require_states(steps)
        return list(steps)
    if not trajectory.checkpoints:
        raise InputError("Influence along training needs checkpoints: train with record='checkpoints'.")
    there = sorted({*trajectory.checkpoints, trajectory.steps})
    first, last = _SPAN
    wanted = [trajectory.steps * (first + (last - first) * i / (CHECKPOINTS - 1)) for i in range(CHECKPOINTS)]
    return sorted({min(there, key=lambda step: abs(step - each)) for each in wanted})
