"""How influence depends on the damping: nothing in the data says which is right, so it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.methods.curvature.columns import Curvature
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.influence.functions import SolverOptions, default_damping
from attribution_core.methods.influence.spectrum import InfluenceSpectrum, influence_spectrum
from attribution_core.training import as_pair
from attribution_core.training.trainer import LabeledData

# Shares of the curvature's largest eigenvalue.
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
# Evaluation examples whose rankings are compared.
COMPARED = 100


@dataclass(frozen=True)
class DampingSweep:
    """The rankings at several dampings, compared with those at the default.

    Attributes:
        share: Damping as a share of the largest eigenvalue, ``[d]``.
        damping: ``[d]``.
        agreement: Spearman's correlation of the effects on an evaluation example with those at the default damping,
            mean over up to ``COMPARED`` of them, ``[d]``.
        self_agreement: The same of self-influence, ``[d]``.
        directions: ``sum_r value_r / (value_r + damping)``, how many directions of the weights count, ``[d]``.
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
    loss: Loss = "cross_entropy",
    curvature: Curvature = "ggn",
    shares: Sequence[float] = SHARES,
    parameters: str = "all",
    options: SolverOptions | None = None,
) -> DampingSweep:
    """Compare the effects of the solver ``sketch`` at several dampings; one eigendecomposition serves them all.

    Arguments and errors are those of :func:`attribution_core.methods.influence.functions.influence_functions`.
    """
    sides, options = (as_pair(train), as_pair(evaluation)), options or SolverOptions()
    spectrum = influence_spectrum(model, *sides, loss, curvature, options.dimension, parameters, options.seed)
    return sweep_of(spectrum, shares)


def sweep_of(spectrum: InfluenceSpectrum, shares: Sequence[float] = SHARES) -> DampingSweep:
    """As :func:`damping_sweep`, for a spectrum that is there; errors as there."""
    count = len(spectrum.evaluation)
    some = spectrum.on(torch.arange(min(count, COMPARED)) * count // min(count, COMPARED))
    default = default_damping(spectrum)
    ranks, own_ranks = _ranks(some.effects(default)), _ranks(some.self_influence(default)[:, None])
    dampings = [share * float(spectrum.values[-1]) for share in shares]
    agreement, own_agreement, directions = [], [], []
    for damping in dampings:
        agreement.append(_correlation(ranks, _ranks(some.effects(damping))))
        own_agreement.append(_correlation(own_ranks, _ranks(some.self_influence(damping)[:, None])))
        directions.append(float((spectrum.values / (spectrum.values + damping)).sum()))
    columns = (list(shares), dampings, agreement, own_agreement, directions)
    return DampingSweep(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def _ranks(columns: Tensor) -> Tensor:
    """Ranks within each column, centred, with length one."""
    ranks = columns.argsort(dim=0).argsort(dim=0).double()
    ranks -= ranks.mean(dim=0)
    return ranks / ranks.norm(dim=0).clamp(min=1e-300)


def _correlation(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum(dim=0).mean())
