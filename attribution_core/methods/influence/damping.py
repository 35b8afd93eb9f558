"""How influence depends on the damping: the data do not say which damping is right, so the dependence is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.methods.influence.functions import default_damping, spectrum_for
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.influence.spectrum import InfluenceSpectrum
from attribution_core.training import as_pair
from attribution_core.training.trainer import LabeledData

# Default dampings, as shares of the curvature's largest eigenvalue.
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
# Maximum number of evaluation examples whose rankings are compared.
COMPARED = 100


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
    count = len(spectrum.evaluation)
    some = spectrum.on(torch.arange(min(count, COMPARED)) * count // min(count, COMPARED))
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


def _ranks(columns: Tensor) -> Tensor:
    """Return the ranks within each column, centered and scaled to length one."""
    ranks = columns.argsort(dim=0).argsort(dim=0).double()
    ranks -= ranks.mean(dim=0)
    return ranks / ranks.norm(dim=0).clamp(min=1e-300)


def _correlation(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum(dim=0).mean())
