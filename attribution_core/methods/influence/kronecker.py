"""Curvature that is diagonal in a Kronecker-factored basis: the solvers ``kfac`` and ``ekfac``.

In the eigenvectors of its Kronecker factors (:mod:`attribution_core.methods.curvature.kronecker`) a layer's curvature
is taken as diagonal, so multiplying by its inverse is a division. Gradients are rotated into that basis as they are
formed, through their factors where that is cheaper, and are never rotated back, since an effect is the same in any
basis.

Parameters without Kronecker factors (scales, grouped convolutions, embeddings) keep their own coordinates, with the
diagonal of the curvature.
"""

from dataclasses import dataclass, replace

from torch import nn

from attribution_core.gradients import ParameterPlan
from attribution_core.gradients.kronecker import mixed_gradients, squares_in_basis
from attribution_core.gradients.sketch import Coordinates
from attribution_core.methods.curvature.columns import Curvature, curvature_columns
from attribution_core.methods.curvature.kronecker import DRAWS, kronecker_bases
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.types import Blocks, InputsAndTargets
from attribution_core.progress import silenced
from attribution_core.training import outputs_of


@dataclass(frozen=True)
class KroneckerInverse:
    """``(C + damping I)^{-1}`` for a C that is diagonal in the plan's coordinates.

    Attributes:
        plan: Plan with coordinates in the rotated basis.
        values: Diagonal of C by parameter, ``[numel]``; C is the curvature of the mean loss.
        damping: Damping added to C.
    """

    plan: ParameterPlan
    values: Blocks
    damping: float

    def solve(self, vectors: Blocks) -> tuple[Blocks, float | None]:
        """Return ``(C + damping I)^{-1} v`` for vectors ``[r, numel]`` by parameter; a division has no residual."""
        return {name: vector / (self.values[name] + self.damping) for name, vector in vectors.items()}, None


def kronecker_values(
    model: nn.Module,
    train: InputsAndTargets,
    plan: ParameterPlan,
    loss: Loss,
    curvature: Curvature,
    corrected: bool,
    seed: int = 0,
) -> tuple[ParameterPlan, Blocks]:
    """Return the plan in the Kronecker-factored basis, and the diagonal of the curvature there.

    Args:
        model: Model at its trained weights.
        train: Training inputs and targets.
        plan: Plan of whole parameters.
        loss: Loss of the training.
        curvature: ``"ggn"``, ``"fisher"`` or ``"empirical"``.
        corrected: Whether the diagonal is that of the gradients themselves (EKFAC), which takes a second pass, or the
            product of the factors' eigenvalues (KFAC).
        seed: Seed of the labels drawn for ``"fisher"``.
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


def trace_of(model: nn.Module, train: InputsAndTargets, plan: ParameterPlan, loss: Loss) -> float:
    """Return the trace of the Gauss-Newton matrix of the mean loss: the mean of ``|J^T M|^2``."""
    with silenced():
        diagonal = _squares(model, train, plan, plan.coordinates, loss, "ggn", 0)
    return sum(float(each.sum()) for each in diagonal.values())


def _squares(
    model: nn.Module,
    train: InputsAndTargets,
    plan: ParameterPlan,
    coordinates: dict[str, Coordinates],
    loss: Loss,
    curvature: Curvature,
    seed: int,
) -> Blocks:
    """Return the diagonal of the curvature for the plan's parameters in the given coordinates."""
    inputs, targets = train
    outputs = outputs_of(model, inputs)
    which, mixtures = curvature_columns(outputs, targets, loss, curvature, DRAWS, seed)
    sums: Blocks = {}
    chosen = inputs[which.to(inputs.device)]
    for name, gradients in mixed_gradients(model, chosen, plan, mixtures, "eigenvalues"):
        squares = squares_in_basis(gradients, coordinates[name].left, coordinates[name].right)
        sums[name] = sums[name] + squares if name in sums else squares
    return {name: (total / len(inputs)).to(outputs.dtype) for name, total in sums.items()}
