"""How influence depends on the damping: the data do not say which damping is right, so the dependence is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.methods.curvature.kronecker import spaced
from attribution_core.methods.influence.along_training import steps_of
from attribution_core.methods.influence.functions import default_damping, spectrum_for
from attribution_core.methods.influence.kernels import gradient_kernels
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.influence.spectrum import InfluenceSpectrum
from attribution_core.training import Trajectory, as_pair
from attribution_core.training.trainer import LabeledData

# Default dampings, as shares of the curvature's largest eigenvalue.
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
# Maximum number of evaluation examples whose rankings are compared.
COMPARED = 100
# Maximum number of training examples among which they are ranked along a training.
SWEPT = 500


@dataclass(frozen=True)
class DampingSweep:
    """Agreement of the rankings at several dampings with those at the default damping.

    Attributes:
        share: Damping as a share of the largest eigenvalue, ``[d]``.
        damping: Damping, ``[d]``.
        agreement: Spearman correlation between the effects on an evaluation example at this damping and at the default
            damping, averaged over up to ``COMPARED`` evaluation examples, ``[d]``.
        self_agreement: The same correlation for self-influence, ``[d]``.
        directions: ``sum_r value_r / (value_r + damping)``, the effective number of directions of the weights, ``[d]``.
    """

    share: Tensor
    damping: Tensor
    agreement: Tensor
    self_agreement: Tensor
    directions: Tensor


def damping_sweep(
    model: nn.Module,
    train: LabeledData,
    evaluation: LabeledData,
    options: InfluenceOptions | None = None,
    shares: Sequence[float] = SHARES,
    **keywords: Unpack[InfluenceKeywords],
) -> DampingSweep:
    """Compare the effects at several dampings; one eigendecomposition serves them all.

    Args:
        model: Model at its trained weights.
        train: Examples that the model was trained on.
        evaluation: Evaluation examples.
        options: How to compute influence. The solver must be ``"sketch"`` (the default) or ``"exact"``; a ``damping``
            replaces the default one that the others are compared with; ``ensemble`` must be empty.
        shares: Dampings to compare, as shares of the curvature's largest eigenvalue.
        **keywords: Fields of :class:`InfluenceOptions` that replace those of ``options``.

    Raises:
        InputError: As in :func:`attribution_core.methods.influence.functions.influence_functions`, or options that a
            sweep does not support.
    """
    options = (options or InfluenceOptions()).with_keywords("sketch", **keywords)
    if options.solver not in ("sketch", "exact") or options.ensemble:
        raise InputError(
            f'A sweep over dampings needs solver="sketch" or "exact" and no ensemble; the solver is '
            f"{options.solver!r}, and the ensemble has {len(options.ensemble)} models."
        )
    return sweep_of(spectrum_for(model, as_pair(train), as_pair(evaluation), options), shares, options.damping)


def sweep_of(
    spectrum: InfluenceSpectrum, shares: Sequence[float] = SHARES, reference: float | None = None
) -> DampingSweep:
    """Compare the effects at several dampings for a spectrum that has been computed.

    Args:
        spectrum: Spectrum of the curvature.
        shares: Dampings to compare, as shares of the curvature's largest eigenvalue.
        reference: Damping to compare them with; None uses the default damping.

    Raises:
        InputError: The loss has no curvature, or a damping leaves the curvature without an inverse.
    """
    some = spectrum.on(spaced(len(spectrum.evaluation), COMPARED))
    reference = default_damping(spectrum) if reference is None else reference
    ranks, own_ranks = _ranks(some.effects(reference)), _ranks(some.self_influence(reference)[:, None])
    dampings = [share * float(spectrum.values[-1]) for share in shares]
    agreement, own_agreement, directions = [], [], []
    for damping in dampings:
        agreement.append(_correlation(ranks, _ranks(some.effects(damping))))
        own_agreement.append(_correlation(own_ranks, _ranks(some.self_influence(damping)[:, None])))
        directions.append(float((spectrum.values / (spectrum.values + damping)).sum()))
    columns = (list(shares), dampings, agreement, own_agreement, directions)
    return DampingSweep(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def sweep_along_training(
    trajectory: Trajectory,
    evaluation: LabeledData,
    steps: Sequence[int] | None,
    reference: float,
    shares: Sequence[float] = SHARES,
) -> DampingSweep:
    """Compare the effects along a training at several dampings, on up to ``SWEPT`` of its examples.

    Args:
        trajectory: Training with checkpoints.
        evaluation: Evaluation examples, of which up to ``COMPARED`` are used.
        steps: As in :func:`attribution_core.methods.influence.along_training.influence_along_training`.
        reference: Damping to compare the others with, as a share of the largest eigenvalue at each checkpoint.
        shares: Dampings to compare, as such shares.

    Returns:
        The agreement; dampings and directions are means over the checkpoints.

    Raises:
        InputError: There are no checkpoints.
    """
    (inputs, targets), side = trajectory.data, as_pair(evaluation)
    some, compared = (spaced(len(each), most) for each, most in ((inputs, SWEPT), (side[0], COMPARED)))
    train, side = (inputs[some], targets[some]), (side[0][compared], side[1][compared])
    options = InfluenceOptions(loss=trajectory.recipe.loss)
    every = torch.tensor((*shares, reference), dtype=torch.float64)
    effects, own, directions, largest = [], [], [], []
    for step in steps_of(trajectory, steps):
        with trajectory.at(step) as model:
            kernels = gradient_kernels(model, train, side, options)
        values, vectors = torch.linalg.eigh(kernels.products)
        weights = 1 / (values.clamp(min=0) + every.to(values)[:, None] * values[-1])  # [shares + 1, r]
        along = vectors.T @ kernels.cross.T
        effects.append(torch.stack([kernels.scale[:, None] * (vectors @ (each[:, None] * along)) for each in weights]))
        own.append((weights * values) @ vectors.square().T * kernels.scale.square())
        directions.append((weights * values).sum(dim=1))
        largest.append(values[-1] / len(values))
    ranks = [_ranks(each) for each in torch.stack(effects).sum(dim=0)]
    own_ranks = [_ranks(each[:, None]) for each in torch.stack(own).sum(dim=0)]
    return DampingSweep(
        every[:-1],
        every[:-1] * float(torch.stack(largest).mean()),
        torch.tensor([_correlation(each, ranks[-1]) for each in ranks[:-1]], dtype=torch.float64),
        torch.tensor([_correlation(each, own_ranks[-1]) for each in own_ranks[:-1]], dtype=torch.float64),
        torch.stack(directions).mean(dim=0)[:-1].double(),
    )


def _ranks(columns: Tensor) -> Tensor:
    """Return the ranks within each column, centered and scaled to length one."""
    ranks = columns.argsort(dim=0).argsort(dim=0).double()
    ranks -= ranks.mean(dim=0)
    return ranks / ranks.norm(dim=0).clamp(min=1e-300)


def _correlation(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum(dim=0).mean())
