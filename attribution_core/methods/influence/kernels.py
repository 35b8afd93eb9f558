r"""Influence from inner products of the examples' gradients, for a curvature with one row for each training example.

With the rows R of the curvature ``C = (1/n) R^T R``, ``K = R R^T``, the inner products ``k_j = R grad l_j`` with the
gradient of evaluation example j, and the gradient of training example i a multiple of its row, ``grad l_i = s_i r_i``,

    grad l_i^T (C + damping I)^{-1} grad l_j / n = s_i [(K + n damping I)^{-1} k_j]_i,

so the effects need no eigenvectors, and nothing of the size of the weights. The row of the empirical curvature is the
gradient itself (s is 1), and that of the Gauss-Newton matrix is its multiple with the trace of the Hessian in the
outputs (:mod:`attribution_core.methods.influence.along_training` says why).
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.losses import hessian_column_norms, prediction_errors
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.methods.influence.spectrum import Rows, kernels_of
from attribution_core.methods.types import InputsAndTargets
from attribution_core.training import outputs_of

_POWER_STEPS = 30  # of the iteration for the largest eigenvalue


@dataclass(frozen=True)
class GradientKernels:
    """Inner products of gradients at one set of weights; see the module.

    Attributes:
        products: Those of the curvature's rows with themselves, K, ``[n, n]``.
        cross: Those of evaluation examples' loss gradients with the rows, ``[m, n]``.
        scale: The loss gradient of each training example as a multiple of its row, ``[n]``.
    """

    products: Tensor
    cross: Tensor
    scale: Tensor

    @functools.cached_property
    def largest(self) -> float:
        """Largest eigenvalue of the curvature."""
        return _largest_eigenvalue(self.products) / len(self.products)

    @property
    def trace(self) -> float:
        """Sum of the curvature's eigenvalues."""
        return float(self.products.diagonal().mean())

    def root(self, damping: float) -> Tensor:
        """Return the Cholesky factor of ``K + n damping I``, ``[n, n]``; costs ``n^3 / 3`` multiplications."""
        damped = self.products.clone()
        damped.diagonal().add_(len(damped) * damping)
        return torch.linalg.cholesky(damped)

    def effects(self, damping: float) -> tuple[Tensor, Tensor]:
        """Return the effects ``[n, m]``, and those of the training examples on themselves, ``[n]``."""
        identity = torch.eye(len(self.products)).to(self.products)
        # torch.cholesky_inverse takes fifty times as long.
        inverse = torch.cholesky_solve(identity, self.root(damping))
        effect = (inverse @ self.cross.T).mul_(self.scale[:, None])
        return effect, (inverse * self.products).sum(dim=1, dtype=torch.float64) * self.scale.square()


def gradient_kernels(
    model: nn.Module, train: InputsAndTargets, side: InputsAndTargets, options: InfluenceOptions
) -> GradientKernels:
    """Return the inner products of gradients at a model's weights.

    Args:
        model: The model.
        train: Training examples.
        side: Evaluation examples.
        options: Loss, parameters, and the curvature, ``"ggn"`` or ``"empirical"``.
    """
    plan = plan_parameters(model, train[0], options.parameters)
    outputs = outputs_of(model, train[0])
    errors, other = prediction_errors(outputs, train[1], options.loss), Rows.of_losses(model, side, options.loss)
    scale = torch.ones_like(errors[:, 0])
    if options.curvature == "ggn":
        least = torch.finfo(outputs.dtype).eps  # of a trace, which the rounding of probabilities leaves
        trace = hessian_column_norms(outputs, options.loss).sum(dim=1).clamp(min=least)
        length = errors.norm(dim=1)
        errors = errors * (trace.sqrt() / length.clamp(min=torch.finfo(outputs.dtype).tiny))[:, None]
        scale = length / trace.sqrt()
    return GradientKernels(*kernels_of(model, Rows(train[0], errors), other, plan, errors.dtype), scale)


def _largest_eigenvalue(matrix: Tensor) -> float:
    """Return the largest eigenvalue of a positive semidefinite matrix, by the power method: from below, within 1%."""
    vector = torch.randn(len(matrix), generator=torch.Generator().manual_seed(0)).to(matrix)
    for _ in range(_POWER_STEPS):
        vector = matrix @ (vector / vector.norm().clamp(min=torch.finfo(matrix.dtype).tiny))
    return float(vector.norm())
