r"""Influence at every damping from one eigendecomposition: the solvers ``exact`` and ``sketch``.

With the curvature ``C = (1/n) sum_i J_i^T M_i M_i^T J_i = (1/n) R^T R`` (:mod:`attribution_core.methods.curvature`), R
``[n q, p]``, and ``C = U diag(values) U^T``, an effect needs only gradients' coordinates in the eigenvectors:

    effect[i, j] = (1/n) g_j^T (C + damping I)^{-1} g_i = (1/n) sum_r (g_j . u_r)(g_i . u_r) / (values_r + damping)

U comes from the smaller of two matrices:

- **primal**, ``R^T R`` ``[p, p]``: ``n q p^2`` multiplications and an eigendecomposition of p; of sketched gradients
  where p would be large, and then what the sketch leaves out is missing from every effect;
- **dual** (Woodbury's form), ``R R^T`` ``[n q, n q]``, whose eigenvectors v give ``u = R^T v / sqrt(n value)`` and
  ``g . u = (g R^T) v / sqrt(n value)``: only inner products of gradients are needed, assembled layer by layer from
  factors (:mod:`attribution_core.gradients.ntk`), and nothing of size p is kept. A training gradient lies in R's span
  for ``ggn`` and ``empirical``, so there nothing is missing; for ``fisher`` what lies outside counts with 1/damping.

So with n = 1,000 examples the empirical curvature of any network is exact in its dual form for one backward pass an
example, and an eigendecomposition of 1,000.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import ParameterPlan, jacobian, kronecker_plan, layer_kernels_apply, tangent_kernels
from attribution_core.methods.curvature import Curvature, curvature_root
from attribution_core.methods.curvature_operators import hessian_matrix
from attribution_core.methods.losses import Loss, prediction_errors
from attribution_core.progress import Progress
from attribution_core.training import outputs_of

Pair = tuple[Tensor, Tensor]

# The largest matrix to decompose where nothing may be sketched.
EXACT_SIZE = 12_000
# Eigenvalues below this share of the largest are rounding, and their eigenvectors have no direction.
_ROUNDING = 1e-12
_BLOCK = 1024


@dataclass(frozen=True)
class InfluenceSpectrum:
    """Gradients in the eigenvectors of a curvature.

    Attributes:
        values: Eigenvalues of C, ascending, ``[r]``, float64. Curvature of the mean loss.
        train: Coordinates of the training examples' loss gradients, ``[n, r]``.
        evaluation: The same of the evaluation examples, ``[m, r]``.
        outside: Inner products ``[n, m]`` of what lies outside the eigenvectors; None where nothing counts.
        outside_self: Squared norms of that part of the training gradients, ``[n]``.
        kept_energy: Share of the gradients' energy that a sketch keeps, 0 to 1; None without one.
    """

    values: Tensor
    train: Tensor
    evaluation: Tensor
    outside: Tensor | None = None
    outside_self: Tensor | None = None
    kept_energy: float | None = None

    def effects(self, damping: float) -> Tensor:
        """``effect[i, j]``, loss on j after the removal of i minus before, ``[n, m]``.

        Raises:
            InputError: A damping that leaves the curvature without an inverse.
        """
        weighted = (self.evaluation / self._damped(damping)).to(self.train.dtype)
        effect = self.train @ weighted.T
        if self.outside is not None:
            effect += self.outside / damping
        return effect / len(self.train)

    def self_influence(self, damping: float) -> Tensor:
        """``effect[i, i]`` of the training examples on themselves, ``[n]``; errors as :meth:`effects`."""
        own = (self.train.square() / self._damped(damping)).sum(dim=1)
        if self.outside_self is not None:
            own += self.outside_self / damping
        return own / len(self.train)

    def _damped(self, damping: float) -> Tensor:
        least = float(self.values.min()) if len(self.values) else 0.0
        if not damping > 0 or not least + damping > 0:
            hint = f", above {-least:.3g} for this curvature" if least < 0 else ""
            raise InputError(f"The damping must be positive{hint}; {damping:.3g} was given.")
        return self.values + damping


def influence_spectrum(
    model: nn.Module,
    train: Pair,
    evaluation: Pair | None,
    plan: ParameterPlan,
    loss: Loss,
    curvature: Curvature,
    dimension: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> InfluenceSpectrum:
    """Decompose a curvature other than the Hessian.

    Args:
        model: At the trained weights.
        train: Training inputs ``[n, ...]`` and targets.
        evaluation: Evaluation inputs ``[m, ...]`` and targets; None where only self-influence is wanted.
        plan: Of whole parameters.
        loss: Of both.
        curvature: ``"ggn"``, ``"fisher"`` or ``"empirical"``.
        dimension: The largest matrix to decompose: beyond it gradients are sketched. None never sketches.
        seed: Of the sketch, and of the labels drawn for ``"fisher"``.
        progress: Called with (done, total, what).

    Raises:
        InputError: Nothing may be sketched and both forms are too large.
    """
    outputs = outputs_of(model, train[0])
    errors = prediction_errors(outputs, train[1], loss)
    evaluated = evaluation or (train[0][:1], train[1][:1])  # one stands in where none is asked for
    root = curvature_root(outputs, train[1], loss, curvature, seed)
    rows = root.shape[0] * root.shape[2]
    if dimension is not None and min(rows, plan.width) > dimension:
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (len(root), root.shape[2], 1), generator=generator) * 2 - 1
        plan = kronecker_plan(model, train[0], plan, dimension, seed, progress, (root @ signs.to(root))[:, :, 0])
    if min(rows, plan.width) > EXACT_SIZE:
        raise InputError(
            f"An exact {curvature} of {plan.width:,} parameters and {len(root):,} examples needs a matrix of "
            f'{min(rows, plan.width):,} rows to be decomposed; up to {EXACT_SIZE:,} are: use solver="sketch".'
        )
    other = prediction_errors(outputs_of(model, evaluated[0]), evaluated[1], loss)[:, None]
    form = _primal if plan.width <= rows else _dual
    return form(model, train[0], evaluated[0], plan, _Rows.of(curvature, errors, root), other, progress)


def hessian_spectrum(
    model: nn.Module,
    train: Pair,
    evaluation: Pair | None,
    plan: ParameterPlan,
    loss: Loss,
    progress: Progress | None = None,
) -> InfluenceSpectrum:
    """Decompose the Hessian of the mean loss, which may have negative eigenvalues; arguments as above.

    Raises:
        InputError: More than ``EXACT_SIZE`` parameters.
    """
    if plan.width > EXACT_SIZE:
        raise InputError(
            f"The Hessian of {plan.width:,} parameters is too large to decompose (up to {EXACT_SIZE:,} are): use "
            'solver="cg", or curvature="ggn".'
        )
    values, vectors = _decomposed(hessian_matrix(model, train, plan, loss, progress).double(), progress)

    def coordinates(side: Pair) -> Tensor:
        errors = prediction_errors(outputs_of(model, side[0]), side[1], loss)
        rows = jacobian(model, side[0], plan, progress, errors[:, None])[1][:, 0]
        return rows @ vectors.to(rows.dtype)

    return InfluenceSpectrum(values, coordinates(train), coordinates(evaluation or (train[0][:1], train[1][:1])))


@dataclass(frozen=True)
class _Rows:
    """Which rows of gradients are computed for each training example, and what is made of them.

    Attributes:
        mixture: ``[n, c, k]``, of the outputs; None: the k outputs themselves, c = k.
        root: ``[n, c, q]``: R's rows from these.
        own: ``[n, c]``: the loss's gradient from these.
        in_span: Whether the loss's gradients lie in the span of R.
    """

    mixture: Tensor | None
    root: Tensor
    own: Tensor
    in_span: bool

    @staticmethod
    def of(curvature: Curvature, errors: Tensor, root: Tensor) -> "_Rows":
        n = len(errors)
        if curvature == "ggn":
            return _Rows(None, root, errors, True)
        if curvature == "empirical":
            return _Rows(errors[:, None], errors.new_ones(n, 1, 1), errors.new_ones(n, 1), True)
        both = torch.stack([errors, root[:, :, 0]], dim=1)
        own = errors.new_tensor([[1.0, 0.0]]).expand(n, 2)
        return _Rows(both, own.flip(1)[:, :, None], own, False)


def _primal(
    model: nn.Module,
    train: Tensor,
    evaluation: Tensor,
    plan: ParameterPlan,
    rows: _Rows,
    other: Tensor,
    progress: Progress | None,
) -> InfluenceSpectrum:
    n, total = len(train), rows.root.new_zeros(plan.width, plan.width, dtype=torch.float64)
    gradients = rows.root.new_empty(n, plan.width)
    for start in range(0, n, _BLOCK):
        where = slice(start, min(start + _BLOCK, n))
        mixture = None if rows.mixture is None else rows.mixture[where]
        _, block = jacobian(model, train[where], plan, None, mixture)
        gradients[where] = (rows.own[where][:, None] @ block)[:, 0]
        half = (rows.root[where].mT @ block).flatten(0, 1)
        total += half.T @ half
        if progress:
            progress(where.stop, n, "curvature")
    _, others = jacobian(model, evaluation, plan, progress, other)
    values, vectors = _decomposed(total / n, progress)
    values = values.clamp(min=0)
    basis = vectors.to(gradients.dtype)
    return InfluenceSpectrum(values, gradients @ basis, others[:, 0] @ basis, kept_energy=plan.kept_energy)


def _dual(
    model: nn.Module,
    train: Tensor,
    evaluation: Tensor,
    plan: ParameterPlan,
    rows: _Rows,
    other: Tensor,
    progress: Progress | None,
) -> InfluenceSpectrum:
    n, c, q = rows.root.shape
    kernel, cross = _kernels(model, train, evaluation, plan, rows.mixture, other, progress)
    root, own = rows.root.double(), rows.own.double()
    with_root = (kernel.view(n * c, n, 1, c) @ root)[:, :, 0].reshape(n, c, n * q)  # rows times R^T
    values, vectors = _decomposed((root.mT @ with_root).reshape(n * q, n * q) / n, progress)
    kept = values > _ROUNDING * values[-1]
    values, vectors = values[kept], vectors[:, kept] / (n * values[kept]).sqrt()
    coordinates = (own[:, None] @ with_root)[:, 0] @ vectors
    others = (cross.view(len(evaluation), n, 1, c) @ root).reshape(len(evaluation), n * q) @ vectors
    if rows.in_span:
        return InfluenceSpectrum(values, coordinates, others)
    whole = (cross.view(len(evaluation), n, c) * own).sum(dim=2).T
    energy = torch.einsum("ic,icid,id->i", own, kernel.view(n, c, n, c), own)
    outside_self = (energy - coordinates.square().sum(dim=1)).clamp(min=0)
    return InfluenceSpectrum(values, coordinates, others, whole - coordinates @ others.T, outside_self)


def _kernels(
    model: nn.Module,
    train: Tensor,
    evaluation: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None,
    other: Tensor,
    progress: Progress | None,
) -> tuple[Tensor, Tensor]:
    """Inner products of the training rows with themselves and of the evaluation gradients with them, float64."""
    if layer_kernels_apply(plan):
        return tangent_kernels(model, train, evaluation, plan, progress, (mixture, other))[:2]
    _, own = jacobian(model, train, plan, progress, mixture)
    _, others = jacobian(model, evaluation, plan, progress, other)
    flat = own.flatten(0, 1).double()
    return flat @ flat.T, others[:, 0].double() @ flat.T


def _decomposed(matrix: Tensor, progress: Progress | None) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors."""
    what = f"decomposing a {len(matrix):,} x {len(matrix):,} matrix"
    if progress:
        progress(0, 1, what)
    values, vectors = torch.linalg.eigh(matrix)
    if progress:
        progress(1, 1, what)
    return values, vectors
