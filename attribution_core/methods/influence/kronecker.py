"""Curvature that is diagonal in a Kronecker-factored basis: the solvers ``kfac`` and ``ekfac``.

A layer's curvature is treated as diagonal in the eigenvectors of its Kronecker factors
(:mod:`attribution_core.methods.curvature.kronecker`), so an inverse product is a division. Gradients are rotated into
that basis as they are formed, through their factors where that is cheaper, and are never rotated back: an effect is the
same in any basis.

Parameters without Kronecker factors (scales, grouped convolutions, embeddings) keep their own coordinates, with the
diagonal of the curvature.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from attribution_core.gradients import ParameterPlan
from attribution_core.gradients.kronecker import mixed_pieces, squares_in_basis
from attribution_core.gradients.sketch import Coordinates
from attribution_core.methods.curvature.columns import Curvature, curvature_columns
from attribution_core.methods.curvature.kronecker import DRAWS, kronecker_bases
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.types import Blocks
from attribution_core.progress import silenced
from attribution_core.training import outputs_of


@dataclass(frozen=True)
class KroneckerInverse:
    """``(C + damping I)^{-1}`` for a C that is diagonal in the plan's coordinates.

    Attributes:
        plan: Whose coordinates are turned.
        values: Diagonal of C by parameter, ``[numel]``: curvature of the mean loss.
        damping: Added to it.
    """

    plan: ParameterPlan
    values: Blocks
    damping: float

    def solve(self, vectors: Blocks) -> tuple[Blocks, float | None]:
        """``(C + damping I)^{-1} v`` for vectors by parameter, ``[r, numel]``; a division has no residual."""
        return {name: vector / (self.values[name] + self.damping) for name, vector in vectors.items()}, None


def kronecker_values(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    plan: ParameterPlan,
    loss: Loss,
    curvature: Curvature,
    corrected: bool,
    seed: int = 0,
) -> tuple[ParameterPlan, Blocks]:
    """The plan in the Kronecker-factored basis, and the diagonal of the curvature there.

    Args:
        model: At the trained weights.
        train: Training inputs and targets.
        plan: Of whole parameters.
        loss: Of the training.
        curvature: ``"ggn"``, ``"fisher"`` or ``"empirical"``.
        corrected: Whether the diagonal is that of the gradients themselves (EKFAC), for a second pass, or the product
            of the factors' eigenvalues (KFAC).
        seed: Of the labels drawn for ``"fisher"``.
    """
    bases = kronecker_bases(model, train, plan, loss, curvature, seed)
    coordinates, values = dict(plan.coordinates), {}
    for name, basis in bases.items():
        coordinates[name] = Coordinates.turned(len(basis.values), basis.left, basis.right)
        values[name] = basis.values / len(train[0])
    rest = plan if corrected else plan.part([name for name in plan.coordinates if name not in values])
    if rest.coordinates:
        values |= _squares(model, train, rest, coordinates, loss, curvature, seed)
    return replace(plan, coordinates=coordinates), values


def trace_of(model: nn.Module, train: tuple[Tensor, Tensor], plan: ParameterPlan, loss: Loss) -> float:
    """Trace of the Gauss-Newton matrix of the mean loss: the mean of ``|J^T M|^2``."""
    with silenced():
        diagonal = _squares(model, train, plan, plan.coordinates, loss, "ggn", 0)
    return sum(float(each.sum()) for each in diagonal.values())


def _squares(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    plan: ParameterPlan,
    coordinates: dict[str, Coordinates],
    loss: Loss,
    curvature: Curvature,
    seed: int,
) -> Blocks:
    """Diagonal of the curvature for the plan's parameters in the given coordinates."""
    inputs, targets = train
    outputs = outputs_of(model, inputs)
    which, mixtures = curvature_columns(outputs, targets, loss, curvature, DRAWS, seed)
    sums: Blocks = {}
    chosen = inputs[which.to(inputs.device)]
    for name, piece in mixed_pieces(model, chosen, plan, mixtures, "eigenvalues"):
        part = squares_in_basis(piece, coordinates[name].left, coordinates[name].right)
        sums[name] = sums[name] + part if name in sums else part
    return {name: (total / len(inputs)).to(outputs.dtype) for name, total in sums.items()}
