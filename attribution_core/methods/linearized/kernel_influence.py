"""Influence in the neural-tangent-kernel regime, and the error of the classical estimate there.

Zhang and Zhang, "Rethinking influence functions of neural networks in the over-parameterized regime", AAAI 2022. The
exact influence of a removal (eqs. 8, 9, 14), at any training time (eq. 20), is computed by
:meth:`attribution_core.methods.linearized.model.LinearizedModel.removal_effects`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent


def relu_ntk(x: Tensor, y: Tensor) -> Tensor:
    """Return the tangent kernel of the infinitely wide two-layer ReLU network whose first layer is trained (eq. 4).

    ``K(x, y) = x.y (pi - theta) / (2 pi)`` with the angle theta between x and y; the paper's inputs have norm 1.

    Args:
        x: Inputs ``[n, ...]``; all axes but the first are flattened.
        y: Inputs ``[m, ...]``.

    Returns:
        Kernel ``[n, m]``, float64. It is the same for every output, so a model with this kernel shares its features.
    """
    x, y = x.flatten(1).double(), y.flatten(1).double()
    inner = x @ y.T
    norms = x.norm(dim=1)[:, None] * y.norm(dim=1)
    # Compute the angle from the chord, not the cosine: arccos loses half the digits where x and y (nearly) agree.
    unit_x, unit_y = (z / z.norm(dim=1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny) for z in (x, y))
    half = torch.cdist(unit_x, unit_y, compute_mode="donot_use_mm_for_euclid_dist") / 2
    angle = 2 * torch.arcsin(half.clamp(max=1.0))
    return torch.where(norms > 0, inner * (math.pi - angle) / (2 * math.pi), torch.zeros_like(inner))


@dataclass(frozen=True)
class KernelRegimeInfluence:
    """The classical estimate of influence in the kernel regime, with the exact effects.

    Attributes:
        effects: Inverse-Hessian-vector-product estimate of ``effect[i, j]``, eq. 13, ``[n, m]``.
        exact: Effects of actually removing i, eqs. 8 and 14, ``[n, m]``.
        lower_bound: Lower bound of the error ``|exact - effects|`` by theorem 3 (eq. 16), ``[n, m]``; a negative bound
            says nothing, and with fewer features than examples (``lambda_min = 0``) none is positive. None if outputs
            do not share their features, since the theorem does not hold then.
    """

    effects: Tensor
    exact: Tensor
    lower_bound: Tensor | None


def ihvp_effects_in_kernel_regime(linear: LinearizedModel, weight_decay: float) -> KernelRegimeInfluence:
    r"""Compute the influence functions of the fully trained model in the kernel regime (eq. 13).

    With ``alpha_ij = Psi_j (Lambda + lambda)^-1 Psi_i^T``, the error ``u_j = f(x_j) - y_j`` on evaluation example j and
    ``e_i = f(x_i) - y_i`` on training example i, the estimate is ``u_j^T alpha_ij e_i``. Actually removing i
    replaces ``e_i`` by the leave-one-out error ``f_{-i}(x_i) - y_i`` and adds half the squared change (eq. 14).

    Theorem 3 is for shared features, where alpha is a scalar: ``e_i = (1 - alpha_ii)(f_{-i}(x_i) - y_i)``, so the error
    is ``alpha_ii`` times the first term and the half square; ``alpha_ii >= lambda_min / (lambda_min + lambda)`` with
    the smallest eigenvalue of the n x n kernel (0 if it is singular).

    Args:
        linear: The linearized model.
        weight_decay: ``lambda`` > 0, added to the sum of losses.

    Raises:
        InputError: The weight decay is not positive, so the Hessian has no inverse.
    """
    if not weight_decay > 0:
        raise InputError(f"The estimate inverts the Hessian, so it needs a positive weight decay, not {weight_decay}.")
    schedule = GradientDescent(1.0, math.inf, weight_decay)
    n, a, p = linear.features.shape
    least = float(linear.eigenvalues[0]) if p == n else 0.0
    errors = linear.predictions(schedule) - linear.evaluation_targets
    if a == 1:
        return _with_shared_features(linear, schedule, errors, least / (least + weight_decay))
    # Sums over outputs of Psi_j^T u_j and of Psi_i^T e_i, so that no [n, m, k, k] array is formed
    pulled = torch.einsum("map,ma->mp", linear.evaluation_features.double(), errors)
    gradients = linear.gradients(schedule).double() / (linear.eigenvalues + weight_decay)
    return KernelRegimeInfluence(gradients.flatten(1) @ pulled.T, linear.removal_effects(schedule), None)


def _with_shared_features(
    linear: LinearizedModel, schedule: GradientDescent, errors: Tensor, least: float
) -> KernelRegimeInfluence:
    """Return the influence where outputs share their features; ``least`` bounds ``alpha_ii`` from below.

    There alpha is one number for each pair and every change is of rank one, ``-alpha_ij e_i / (1 - alpha_ii)``, so all
    k outputs cost ``n m (p + k)`` multiplications in place of ``n m k p``.
    """
    inverse = 1 / (linear.eigenvalues + schedule.weight_decay)
    others, weights = linear.evaluation_features[:, 0].double().T, linear.weights(schedule)
    estimates, exact, bounds = [], [], []
    for rows in blocks(linear.num_train, 8 * (2 * len(inverse) + 4 * others.shape[1])):
        own = linear.features[rows, 0].double()
        alpha = (own * inverse) @ others
        fitted = own @ weights.T - linear.residuals[rows, 0].double()  # e_i
        without = fitted / (1 - (own.square() * inverse).sum(dim=1, keepdim=True))  # f_{-i}(x_i) - y_i
        half_square = alpha.square() * (without.square().sum(dim=1, keepdim=True) / 2)
        estimates.append(alpha * (fitted @ errors.T))
        exact.append(half_square + alpha * (without @ errors.T))
        bounds.append(least * exact[-1].abs() - half_square)
    return KernelRegimeInfluence(*(torch.cat(parts) for parts in (estimates, exact, bounds)))


def sample_complexity(kernel: Tensor, targets: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    r"""Return how much each group of training examples adds to the norm of the function that fits all labels (eq. 19).

    ``C(G) = sqrt(Y^T K^-1 Y) - sqrt(Y_-G^T K_-G^-1 Y_-G)`` is the increment of the RKHS norm. By the block inverse the
    second square is the first minus ``alpha_G^T ((K^-1)_GG)^-1 alpha_G`` with ``alpha = K^-1 Y``: one factorization for
    all groups, then ``O(|G|^3)`` for each.

    Args:
        kernel: Positive definite kernel, ``[n, n]``.
        targets: Targets ``[n]`` or ``[n, k]``; squares are summed over outputs.
        groups: Indices of the examples in each group.

    Returns:
        Increments ``[len(groups)]``, >= 0 up to rounding.

    Raises:
        InputError: The kernel is not positive definite (equal inputs cause that), has another size than the targets, or
            a group is empty or has an index out of range.
    """
    kernel = kernel.double()
    targets = targets.double().reshape(len(targets), -1).to(kernel.device)
    if kernel.shape != (len(targets), len(targets)):
        raise InputError(
            f"The kernel of {len(targets)} targets must be [{len(targets)}, {len(targets)}], not {list(kernel.shape)}."
        )
    factor, failed = torch.linalg.cholesky_ex(kernel)
    if int(failed):
        raise InputError("The kernel is not positive definite, so not every label can be fitted: remove duplicates.")
    inverse = torch.cholesky_inverse(factor)
    alpha = inverse @ targets
    whole = (targets * alpha).sum()
    complexity = []
    for group in groups:
        chosen = torch.as_tensor(group, dtype=torch.int64, device=kernel.device)
        if len(chosen) == 0 or int(chosen.min()) < 0 or int(chosen.max()) >= len(kernel):
            raise InputError(f"A group must contain one or more indices from 0 to {len(kernel) - 1}.")
        removed = (alpha[chosen] * torch.linalg.solve(inverse[chosen][:, chosen], alpha[chosen])).sum()
        complexity.append(whole.sqrt() - (whole - removed).clamp(min=0).sqrt())
    return torch.stack(complexity)


def require_marks(n: int, marked: Tensor, top: int) -> None:
    """Raise InputError unless there are n marks and no fewer examples than influencers."""
    if marked.shape != (n,) or not 1 <= top <= n:
        raise InputError(f"Expected {n} marks and a top from 1 to {n}; got {list(marked.shape)} marks and top {top}.")
