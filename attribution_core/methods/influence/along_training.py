r"""Influence functions averaged over checkpoints of a training.

At one set of weights, influence functions know the loss near these weights only, and the gradients of examples that
are fitted by then are noise. Over T checkpoints of the same training, each with its own curvature and damping,

    effect[i, j] = (1/T) sum_t (1/n) grad l_j(w_t)^T (C_t + damping_t I)^{-1} grad l_i(w_t),

the noise averages out, as it does over trainings from several seeds, each of which would cost a training. The curvature
is by default the empirical one, ``C_t = (1/n) G^T G`` with the gradients of the n training examples as rows of G. With
``K = G G^T`` and the inner products ``k_j = G grad l_j`` the effects need no eigenvectors, and nothing of the size of
the weights:

    (1/n) G (G^T G / n + damping I)^{-1} grad l_j = (K + n damping I)^{-1} k_j,

and those of an example on itself are the diagonal of ``(K + n damping I)^{-1} K``. For n examples, of which up to
``MOST_EXAMPLES`` are solved for together, a checkpoint takes a backward pass for each example, K and k from the layers'
factors (:mod:`attribution_core.gradients.ntk`), ``n^3`` multiplications for the inverse and ``n^2 m`` for the effects,
in the weights' precision: by the damping, the condition is below 1 / ``SHARE``. More examples, and other curvatures,
take a spectrum (:mod:`attribution_core.methods.influence.spectrum`), of a sketch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.gradients.ntk import multiplications_of_a_pair
from attribution_core.methods.influence.functions import spectrum_for
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.influence.spectrum import Rows, kernels_of
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import silenced, track
from attribution_core.training import Trajectory, as_pair
from attribution_core.training.trainer import LabeledData

# Checkpoints that are used by default, in geometric progression from this share of the training to its end. Compared
# with retraining (``influence_fidelity``; LDS on Fashion-MNIST with LeNet-5, film reviews and MNIST with MLPs, means of
# three trainings): the end alone .54, .83, .65, with the Gauss-Newton matrix .54, .85, .75; these eight .68, .88, .69;
# eight evenly spaced from a fifth to nine tenths .70, .86, .66; the four of these that runs keep (after epochs 2, 5, 10
# and 20) .64, .88, .69.
CHECKPOINTS = 8
FROM = 0.1
# Default damping, as a share of the largest eigenvalue of each checkpoint's curvature, unless weight decay is more. Of
# the eight, half of this share gave .68, .87, .70, twice this share .67, .88, .67, and ten times .58, .82, .57.
SHARE = 0.01
# Examples whose inner products are inverted: 0.3 GB in float32, and 5e11 multiplications.
MOST_EXAMPLES = 8192
# Of all inner products at a checkpoint: half a minute on two cores for cnn4, whose sketch takes longer. With 3,000
# training and 500 evaluation examples LeNet-5 has 2e10, cnn4 has 1e12.
MOST_MULTIPLICATIONS = 5 * 10**11
_POWER_STEPS = 30  # of the iteration for the largest eigenvalue


@dataclass(frozen=True)
class InfluenceAlongTraining:
    """Influence of training examples, averaged over checkpoints.

    Attributes:
        effect: Loss after the removal of i minus before, on evaluation example j, ``[n, m]``.
        self_influence: The same of i on itself, ``[n]``.
        steps: Optimizer steps of the checkpoints.
        damping: Damping used at each, those of a second trajectory after those of the first.
        kept_energy: Smallest share of the training examples' loss gradients (their squared norms) that a sketch keeps;
            None without a sketch.
    """

    effect: Tensor
    self_influence: Tensor
    steps: tuple[int, ...]
    damping: tuple[float, ...]
    kept_energy: float | None = None


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
        steps: Optimizer steps to use; each must be a checkpoint, 0 or the last step. By default the eight of these that
            are nearest to a geometric progression from a tenth of the training to its end.
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
    used = [steps_of(each, steps) for each in trajectories]
    if any(each != used[0] for each in used):
        raise InputError("The trajectories must have the same checkpoints: train them by the same recipe.")
    side = as_pair(evaluation)
    by_examples = solves_by_examples(trajectories[0], len(side[0]), chosen)
    places = [(each, step) for each in trajectories for step in used[0]]
    effect, own, damping = torch.zeros(()), torch.zeros(()), []
    kept: list[float] = []
    for each, step in track(places, len(places), "influence along training"):
        with silenced():
            here = (_by_examples if by_examples else _by_spectrum)(each, step, side, chosen)
        effect = effect.to(here.effect) + here.effect / len(places)
        own = own.to(here.own) + here.own / len(places)
        damping.append(here.damping)
        kept += [] if here.kept_energy is None else [here.kept_energy]
    return InfluenceAlongTraining(effect, own, tuple(used[0]), tuple(damping), min(kept, default=None))


class _Moment(NamedTuple):
    """Effects ``[n, m]``, self-influence ``[n]`` and damping at one checkpoint, and what a sketch keeps."""

    effect: Tensor
    own: Tensor
    damping: float
    kept_energy: float | None = None


def _by_spectrum(trajectory: Trajectory, step: int, side: InputsAndTargets, options: InfluenceOptions) -> _Moment:
    """Return the effects at one checkpoint by a decomposition."""
    with trajectory.at(step) as model:
        spectrum = spectrum_for(model, trajectory.data, side, options)
    damping = options.damping or _default_damping(trajectory, float(spectrum.values[-1:].sum()))
    return _Moment(spectrum.effects(damping), spectrum.self_influence(damping), damping, spectrum.kept_energy)


def solves_by_examples(trajectory: Trajectory, evaluated: int, options: InfluenceOptions | None = None) -> bool:
    """Return whether effects follow from inner products of the examples' gradients, and not from a spectrum.

    Args:
        trajectory: The training.
        evaluated: Number of evaluation examples.
        options: As in :func:`influence_along_training`.
    """
    n, options = trajectory.num_examples, options or InfluenceOptions(curvature="empirical")
    if options.curvature != "empirical":
        return False
    plan = plan_parameters(trajectory.model, trajectory.data[0][:1], options.parameters)
    each = multiplications_of_a_pair(trajectory.model, trajectory.data[0], plan)
    return are_few_enough(n, evaluated, each)


def are_few_enough(examples: int, evaluated: int, each: int) -> bool:
    """Return whether the inner products of all pairs, of ``each`` multiplications, are affordable."""
    return examples <= MOST_EXAMPLES and examples * (examples / 2 + evaluated) * each <= MOST_MULTIPLICATIONS


def _by_examples(trajectory: Trajectory, step: int, side: InputsAndTargets, options: InfluenceOptions) -> _Moment:
    """Return the effects at one checkpoint by the inner products of gradients."""
    with trajectory.at(step) as model:
        products, cross = gradient_kernels(model, trajectory.data, side, options)
    damping = options.damping or _default_damping(trajectory, _largest_eigenvalue(products) / len(products))
    identity = torch.eye(len(products)).to(products)
    root = torch.linalg.cholesky(products + len(products) * damping * identity)
    inverse = torch.cholesky_solve(identity, root)  # torch.cholesky_inverse takes fifty times as long
    return _Moment(inverse @ cross.T, (inverse * products).sum(dim=1, dtype=torch.float64), damping)


def _default_damping(trajectory: Trajectory, largest: float) -> float:
    """Return a share of the largest eigenvalue, but no less than the weight decay, which is curvature too.

    Raises:
        InputError: There is neither.
    """
    damping = max(SHARE * largest, trajectory.recipe.weight_decay)
    if not damping > 0:
        raise InputError(
            "Every training example is fitted without error, so that no damping follows from their gradients: set it."
        )
    return damping


def gradient_kernels(
    model: nn.Module, train: InputsAndTargets, side: InputsAndTargets, options: InfluenceOptions
) -> tuple[Tensor, Tensor]:
    """Return inner products of loss gradients: of training examples ``[n, n]``, of evaluation with these ``[m, n]``."""
    plan = plan_parameters(model, train[0], options.parameters)
    own, other = (Rows.of_losses(model, each, options.loss) for each in (train, side))
    return kernels_of(model, own, other, plan, own.mixture.dtype)


def _largest_eigenvalue(matrix: Tensor) -> float:
    """Return the largest eigenvalue of a positive semidefinite matrix, by the power method: from below, within 1%."""
    vector = torch.randn(len(matrix), generator=torch.Generator().manual_seed(0)).to(matrix)
    for _ in range(_POWER_STEPS):
        vector = matrix @ (vector / vector.norm().clamp(min=torch.finfo(matrix.dtype).tiny))
    return float(vector.norm())


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
