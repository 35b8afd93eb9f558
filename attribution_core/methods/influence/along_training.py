r"""Influence functions averaged over checkpoints of a training.

At one set of weights, influence functions know the loss near these weights only, and the gradients of examples that
are fitted by then are noise. Over T checkpoints of the same training, each with its own curvature and damping,

    effect[i, j] = (1/T) sum_t (1/n) grad l_j(w_t)^T (C_t + damping_t I)^{-1} grad l_i(w_t),

the noise averages out, as it does over trainings from several seeds, each of which would cost a training.

The curvature is the Gauss-Newton matrix ``(1/n) sum_i J_i^T H_i J_i``, in which the Hessian H_i of loss i in the k
outputs is replaced by the matrix of rank one along its error e_i that has the same trace,

    H_i ~ tr(H_i) e_i e_i^T / |e_i|^2,   so that   C_t = (1/n) R^T R,   r_i = sqrt(tr H_i) / |e_i| grad l_i.

That is exact for one output and for two classes, where H_i has no other direction; and it costs what the empirical
curvature does, whose rows are ``grad l_i`` themselves, and which thus takes a large error for a large curvature: the
opposite of the truth where a label is confidently wrong. The effects then follow from inner products of gradients
(:mod:`attribution_core.methods.influence.kernels`), with ``s_i = |e_i| / sqrt(tr H_i)``. For n examples, of which up to
``MOST_EXAMPLES`` are solved for together, a checkpoint takes a backward pass for each example, the products from the
layers' factors (:mod:`attribution_core.gradients.ntk`), ``n^3`` multiplications for the inverse and ``n^2 m`` for the
effects, in the weights' precision: by the damping, the condition is below 1 / ``LEAST_SHARE``. More examples, and other
curvatures, take a spectrum (:mod:`attribution_core.methods.influence.spectrum`), of a sketch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.gradients.ntk import multiplications_of_a_pair
from attribution_core.methods.influence.functions import spectrum_for
from attribution_core.methods.influence.kernels import GradientKernels, gradient_kernels
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.influence.spectrum import InfluenceSpectrum
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import silenced, track
from attribution_core.training import Trajectory, as_pair
from attribution_core.training.trainer import LabeledData

Curvature = GradientKernels | InfluenceSpectrum

# Checkpoints that are used by default, in geometric progression from this share of the training to its end. Compared
# with retraining (``influence_fidelity``; LDS on MNIST and on film reviews with MLPs, Fashion-MNIST with LeNet-5 and
# cats against dogs with cnn4): the Gauss-Newton matrix at the end .75, .85, .54, .83; these eight .77, .90, .66, .86,
# and with the empirical curvature .69, .88, .68, .87; the four that runs keep (after epochs 2, 5, 10 and 20) .76, .89,
# .63 on the first three. There, the whole Gauss-Newton matrix in place of matrices of rank one gives the four .80, .90
# and .64, and takes five times as long.
CHECKPOINTS = 8
FROM = 0.1
# The default damping at a checkpoint is ``DAMPING largest^2 / trace``, as at the end of a training
# (:mod:`attribution_core.methods.influence.functions`), and at least ``LEAST_SHARE`` of the largest eigenvalue and the
# weight decay. With 0.03, 0.07 and 0.15 (without the least share) the eight give .76, .88, .65, .87; .77, .90, .66, .89
# and .76, .90, .64, .87 (the last problem with two trainings of three); a fixed share of 1% gives .77, .90, .66, .85,
# and of 3% .72, .90, .63, .89.
DAMPING = 0.07
LEAST_SHARE = 0.005
# Examples whose inner products are inverted: 0.3 GB in float32, and 5e11 multiplications.
MOST_EXAMPLES = 8192
# Of all inner products at a checkpoint: half a minute on two cores for cnn4, whose sketch takes longer. With 3,000
# training and 500 evaluation examples LeNet-5 has 2e10, cnn4 has 1e12.
MOST_MULTIPLICATIONS = 5 * 10**11


@dataclass(frozen=True)
class InfluenceAlongTraining:
    """Influence of training examples, averaged over checkpoints.

    Attributes:
        effect: Loss after the removal of i minus before, on evaluation example j, ``[n, m]``.
        self_influence: The same of i on itself, ``[n]``.
        steps: Optimizer steps of the checkpoints.
        damping: Damping used at each, those of a second trajectory after those of the first.
        share: The same as a share of the largest eigenvalue of the curvature there.
        kept_energy: Smallest share of the training examples' loss gradients (their squared norms) that a sketch keeps;
            None without a sketch.
    """

    effect: Tensor
    self_influence: Tensor
    steps: tuple[int, ...]
    damping: tuple[float, ...]
    share: tuple[float, ...]
    kept_energy: float | None = None


def influence_along_training(
    trajectory: Trajectory | Sequence[Trajectory],
    evaluation: LabeledData,
    options: InfluenceOptions | None = None,
    steps: Sequence[int] | None = None,
    observe: Callable[[Curvature, float], None] | None = None,
    **keywords: Unpack[InfluenceKeywords],
) -> InfluenceAlongTraining:
    """Return the influence of every training example on every evaluation example, averaged over a training.

    Args:
        trajectory: Training with ``record="checkpoints"``, or several on the same examples from other seeds, whose
            effects are averaged as well; the models are left as they were.
        evaluation: Evaluation examples.
        options: How to compute influence at a checkpoint. The solver must be ``"sketch"`` (the default), with which the
            Hessians in the outputs are of rank one if the examples are few enough, or ``"exact"``. A ``damping``
            replaces the default one at every checkpoint; ``loss`` and ``ensemble`` are the trajectories'.
        steps: Optimizer steps to use; each must be a checkpoint, 0 or the last step. By default the eight of these that
            are nearest to a geometric progression from a tenth of the training to its end.
        observe: Called at each checkpoint with what the effects there follow from, and the damping.
        **keywords: Fields of :class:`InfluenceOptions` that replace those of ``options``.

    Returns:
        The effects, on the model's device.

    Raises:
        InputError: A step has no checkpoint, the trajectories differ in their steps, or the options cannot be used.
    """
    trajectories = [trajectory] if isinstance(trajectory, Trajectory) else list(trajectory)
    given = options or InfluenceOptions()
    chosen = replace(given.with_keywords("sketch", **keywords), loss=trajectories[0].recipe.loss)
    if chosen.solver not in ("sketch", "exact") or chosen.ensemble:
        raise InputError(
            f'Influence along training needs solver="sketch" or "exact" and no ensemble, for which it takes several '
            f"trajectories; the solver is {chosen.solver!r}, and the ensemble has {len(chosen.ensemble)} models."
        )
    used = [steps_of(each, steps) for each in trajectories]
    if any(each != used[0] for each in used):
        raise InputError("The trajectories must have the same checkpoints: train them by the same recipe.")
    side = as_pair(evaluation)
    by_examples = solves_by_examples(trajectories[0], len(side[0]), chosen)
    places = [(each, step) for each in trajectories for step in used[0]]
    effect, own = torch.zeros(()), torch.zeros(())
    damping: list[float] = []
    share: list[float] = []
    kept: list[float] = []
    for each, step in track(places, len(places), "influence along training"):
        with silenced():
            here = _curvature_at(each, step, side, chosen, by_examples)
            largest, trace = _size_of(here)
            damping.append(chosen.damping or default_damping(each, largest, trace))
            effect_here, own_here = _effects(here, damping[-1])
        effect = effect.to(effect_here) + effect_here / len(places)
        own = own.to(own_here) + own_here / len(places)
        share.append(damping[-1] / max(largest, 1e-300))
        if isinstance(here, InfluenceSpectrum) and here.kept_energy is not None:
            kept.append(here.kept_energy)
        if observe is not None:
            observe(here, damping[-1])
    return InfluenceAlongTraining(effect, own, tuple(used[0]), tuple(damping), tuple(share), min(kept, default=None))


def _size_of(curvature: Curvature) -> tuple[float, float]:
    """Return the largest eigenvalue of a curvature, and the sum of all."""
    if isinstance(curvature, GradientKernels):
        return curvature.largest, curvature.trace
    return float(curvature.values[-1:].sum()), float(curvature.values.abs().sum())


def _effects(curvature: Curvature, damping: float) -> tuple[Tensor, Tensor]:
    """Return the effects, and those of the training examples on themselves."""
    if isinstance(curvature, GradientKernels):
        return curvature.effects(damping)
    return curvature.effects(damping), curvature.self_influence(damping)


def solves_by_examples(trajectory: Trajectory, evaluated: int, options: InfluenceOptions | None = None) -> bool:
    """Return whether effects follow from inner products of the examples' gradients, and not from a spectrum.

    Args:
        trajectory: The training.
        evaluated: Number of evaluation examples.
        options: As in :func:`influence_along_training`.
    """
    n, options = trajectory.num_examples, options or InfluenceOptions()
    if options.curvature != "empirical" and (options.curvature != "ggn" or options.solver == "exact"):
        return False
    plan = plan_parameters(trajectory.model, trajectory.data[0][:1], options.parameters)
    each = multiplications_of_a_pair(trajectory.model, trajectory.data[0], plan)
    return are_few_enough(n, evaluated, each)


def are_few_enough(examples: int, evaluated: int, each: int) -> bool:
    """Return whether the inner products of all pairs, of ``each`` multiplications, are affordable."""
    return examples <= MOST_EXAMPLES and examples * (examples / 2 + evaluated) * each <= MOST_MULTIPLICATIONS


def _curvature_at(
    trajectory: Trajectory, step: int, side: InputsAndTargets, options: InfluenceOptions, by_examples: bool
) -> Curvature:
    """Return inner products of gradients, or a decomposition, at one checkpoint."""
    with trajectory.at(step) as model:
        return (gradient_kernels if by_examples else spectrum_for)(model, trajectory.data, side, options)


def default_damping(trajectory: Trajectory, largest: float, trace: float) -> float:
    """Return the damping of a curvature at a checkpoint, at least the weight decay, which is curvature too.

    Args:
        trajectory: The training.
        largest: Largest eigenvalue of the curvature.
        trace: Sum of its eigenvalues.

    Raises:
        InputError: There is no curvature and no weight decay.
    """
    rule = DAMPING * largest**2 / trace if trace > 0 else 0.0
    damping = max(rule, LEAST_SHARE * largest, trajectory.recipe.weight_decay)
    if not damping > 0:
        raise InputError(
            "Every training example is fitted without error, so that no damping follows from their gradients: set it."
        )
    return damping


def steps_of(trajectory: Trajectory, steps: Sequence[int] | None) -> list[int]:
    """Return the steps that were asked for, or the checkpoints nearest to a geometric progression."""
    if steps is not None:
        trajectory.require_states(steps)
        return list(steps)
    if not trajectory.checkpoints:
        raise InputError("Influence along training needs checkpoints: train with record='checkpoints'.")
    there = sorted({*trajectory.checkpoints, trajectory.steps})
    wanted = [trajectory.steps * FROM ** (1 - i / (CHECKPOINTS - 1)) for i in range(CHECKPOINTS)]
    return sorted({min(there, key=lambda step: abs(math.log(step / each))) for each in wanted})
