r"""Influence at every damping from one eigendecomposition: the solvers ``exact`` and ``sketch``.

Write the curvature (:mod:`attribution_core.methods.curvature.columns`) as
``C = (1/n) sum_i J_i^T M_i M_i^T J_i = (1/n) R^T R`` with R ``[n q, p]``, and ``C = U diag(values) U^T``. Then an
effect needs only the gradients' coordinates in the eigenvectors:

    effect[i, j] = (1/n) g_j^T (C + damping I)^{-1} g_i = (1/n) sum_r (g_j . u_r)(g_i . u_r) / (values_r + damping)

U comes from the smaller of two matrices:

- **primal**, ``R^T R`` ``[p, p]``: ``n q p^2`` multiplications and an eigendecomposition of p. Where p is large,
  gradients are sketched (:mod:`attribution_core.gradients.kronecker`), which leaves the same out of every effect, and
  of R's n q rows ``ROWS`` are drawn, in proportion to their squares;
- **dual** (Woodbury's form), ``R R^T`` ``[n q, n q]``, whose eigenvectors v give ``u = R^T v / sqrt(n value)`` and
  ``g . u = (g R^T) v / sqrt(n value)``: only inner products of gradients are needed, assembled layer by layer from
  factors (:mod:`attribution_core.gradients.ntk`), and nothing of size p is kept. A training gradient lies in R's span
  for ``ggn`` and ``empirical``, so there nothing is missing; for ``fisher`` what lies outside counts with 1/damping.

So with n = 1,000 examples the empirical curvature of any network is exact in its dual form for one backward pass an
example, and an eigendecomposition of 1,000.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import (
    ParameterPlan,
    jacobian,
    kronecker_plan,
    layer_kernels_apply,
    plan_parameters,
    tangent_kernels,
)
from attribution_core.methods.curvature.columns import Curvature, curvature_columns, num_columns
from attribution_core.methods.curvature.iterative import hessian_matrix
from attribution_core.methods.curvature.losses import Loss, errors_of, prediction_errors
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import report, silenced
from attribution_core.training import outputs_of

# The largest matrix to decompose where gradients may be sketched.
DIMENSION = 2048
# The largest matrix to decompose where nothing may be sketched.
EXACT_SIZE = 12_000
# Rows of R that are met where gradients are sketched: columns of M, drawn where there are more.
ROWS = 8192
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

    def on(self, chosen: Tensor) -> "InfluenceSpectrum":
        """The same for some of the evaluation examples, by their indices."""
        outside = None if self.outside is None else self.outside[:, chosen]
        return replace(self, evaluation=self.evaluation[chosen], outside=outside)

    def _damped(self, damping: float) -> Tensor:
        least = float(self.values.min()) if len(self.values) else 0.0
        if not damping > 0 or not least + damping > 0:
            hint = f", above {-least:.3g} for this curvature" if least < 0 else ""
            raise InputError(f"The damping must be positive{hint}; {damping:.3g} was given.")
        return self.values + damping


def influence_spectrum(
    model: nn.Module,
    train: InputsAndTargets,
    evaluation: InputsAndTargets | None,
    loss: Loss,
    curvature: Curvature = "ggn",
    dimension: int | None = DIMENSION,
    parameters: str = "all",
    seed: int = 0,
) -> InfluenceSpectrum:
    """Decompose a curvature other than the Hessian.

    Args:
        model: At the trained weights.
        train: Training inputs ``[n, ...]`` and targets.
        evaluation: Evaluation inputs ``[m, ...]`` and targets; None where only self-influence is wanted.
        loss: Of both.
        curvature: ``"ggn"``, ``"fisher"`` or ``"empirical"``.
        dimension: The largest matrix to decompose: beyond it gradients are sketched. None never sketches.
        parameters: ``"all"``, ``"head"`` or a regular expression over parameter names.
        seed: Of the sketch, and of the labels drawn for ``"fisher"``.

    Raises:
        InputError: Nothing may be sketched and both forms are too large.
    """
    plan, outputs = plan_parameters(model, train[0], parameters), outputs_of(model, train[0])
    own = _Rows(train[0], prediction_errors(outputs, train[1], loss))
    columns = num_columns(outputs, curvature)
    size = min(columns, plan.width)
    sketched = dimension is not None and size > dimension
    if size > EXACT_SIZE and not sketched:
        raise InputError(
            f"An exact {curvature} of {plan.width:,} parameters and {len(outputs):,} examples needs a matrix of "
            f'{size:,} rows to be decomposed; up to {EXACT_SIZE:,} are: use solver="sketch".'
        )
    which, mixture = curvature_columns(outputs, train[1], loss, curvature, ROWS if sketched else columns, seed)
    rows = _Rows(train[0][which.to(train[0].device)], mixture)
    if sketched:
        plan = kronecker_plan(model, rows.inputs, plan, dimension or 0, seed, rows.mixture)
    other = _Rows.of_losses(model, evaluation or _one_of(train), loss)
    if plan.width <= len(which):
        return _primal(model, rows, own, other, plan)
    dtype = torch.float64 if dimension is None else outputs.dtype
    if curvature == "fisher":
        return _dual_outside(model, rows, own, other, plan, dtype)
    return _dual(model, rows, None if curvature == "empirical" else own, other, plan, dtype)


def hessian_spectrum(
    model: nn.Module,
    train: InputsAndTargets,
    evaluation: InputsAndTargets | None,
    loss: Loss,
    parameters: str = "all",
) -> InfluenceSpectrum:
    """Decompose the Hessian of the mean loss, which may have negative eigenvalues; arguments as above.

    Raises:
        InputError: More than ``EXACT_SIZE`` parameters.
    """
    plan = plan_parameters(model, train[0], parameters)
    if plan.width > EXACT_SIZE:
        raise InputError(
            f"The Hessian of {plan.width:,} parameters is too large to decompose (up to {EXACT_SIZE:,} are): use "
            'solver="cg", or curvature="ggn".'
        )
    values, vectors = _decomposed(hessian_matrix(model, train, plan, loss).double())
    sides = (_Rows.of_losses(model, side, loss) for side in (train, evaluation or _one_of(train)))
    own, other = (each.gradients(model, plan) for each in sides)
    basis = vectors.to(own.dtype)
    return InfluenceSpectrum(values, own @ basis, other @ basis)


def _one_of(side: InputsAndTargets) -> InputsAndTargets:
    """The first example, which stands in for evaluation examples where none are asked for."""
    return side[0][:1], side[1][:1]


class _Rows(NamedTuple):
    """Gradients of ``sum_c mixture_bc f_c(x_b)``, one for each input.

    Attributes:
        inputs: ``[b, ...]``.
        mixture: ``[b, k]``.
    """

    inputs: Tensor
    mixture: Tensor

    @staticmethod
    def of_losses(model: nn.Module, side: InputsAndTargets, loss: Loss) -> "_Rows":
        """The gradients of the examples' losses."""
        return _Rows(side[0], errors_of(model, side, loss))

    def gradients(
        self,
        model: nn.Module,
        plan: ParameterPlan,
    ) -> Tensor:
        """Their coordinates in the plan, ``[b, p]``."""
        return jacobian(model, self.inputs, plan, self.mixture)[1][:, 0]

    def with_others(self, others: "_Rows") -> "_Rows":
        return _Rows(torch.cat([self.inputs, others.inputs]), torch.cat([self.mixture, others.mixture]))


def _primal(
    model: nn.Module,
    rows: _Rows,
    own: _Rows,
    other: _Rows,
    plan: ParameterPlan,
) -> InfluenceSpectrum:
    total = rows.mixture.new_zeros(plan.width, plan.width, dtype=torch.float64)
    for start in range(0, len(rows.inputs), _BLOCK):
        where = slice(start, start + _BLOCK)
        with silenced():
            half = _Rows(rows.inputs[where], rows.mixture[where]).gradients(model, plan)
        total += half.T @ half
        report(min(start + _BLOCK, len(rows.inputs)), len(rows.inputs), "curvature")
    values, vectors = _decomposed(total / len(own.inputs))
    basis = vectors.to(own.mixture.dtype)
    train, evaluation = (each.gradients(model, plan) for each in (own, other))
    return InfluenceSpectrum(values.clamp(min=0), train @ basis, evaluation @ basis, kept_energy=plan.kept_energy)


def _dual(
    model: nn.Module,
    rows: _Rows,
    own: _Rows | None,
    other: _Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> InfluenceSpectrum:
    """Where the training gradients lie in the span of the rows, or are the rows (``own`` is None)."""
    if own is None:
        kernel, cross = _kernels(model, rows, other, plan, dtype)
        values, vectors = _directions(kernel, len(kernel))
        return InfluenceSpectrum(values, kernel @ vectors, cross @ vectors)
    n = len(own.inputs)
    kernel, cross = _kernels(model, rows, own.with_others(other), plan, dtype)
    values, vectors = _directions(kernel, n)
    coordinates = cross @ vectors
    return InfluenceSpectrum(values, coordinates[:n], coordinates[n:])


def _dual_outside(
    model: nn.Module,
    rows: _Rows,
    own: _Rows,
    other: _Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> InfluenceSpectrum:
    """Where they do not: what lies outside is known from the inner products of the gradients themselves."""
    n, count = len(own.inputs), len(rows.inputs)
    kernel, cross = _kernels(model, rows.with_others(own), other, plan, dtype)
    values, vectors = _directions(kernel[:count, :count], n)
    coordinates, others = kernel[count:, :count] @ vectors, cross[:, :count] @ vectors
    outside = cross[:, count:].T - coordinates @ others.T
    outside_self = (kernel[count:, count:].diagonal() - coordinates.square().sum(dim=1)).clamp(min=0)
    return InfluenceSpectrum(values, coordinates, others, outside, outside_self)


def _kernels(
    model: nn.Module,
    left: _Rows,
    right: _Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Inner products of the left rows with themselves and of the right ones with them."""
    if layer_kernels_apply(plan):
        mixtures = left.mixture, right.mixture
        return tangent_kernels(model, left.inputs, right.inputs, plan, mixtures, dtype)[:2]
    own, others = (each.gradients(model, plan).to(dtype) for each in (left, right))
    return own @ own.T, others @ own.T


def _directions(
    kernel: Tensor,
    n: int,
) -> tuple[Tensor, Tensor]:
    """Eigenvalues of C, and what turns inner products with its rows into coordinates in its eigenvectors."""
    values, vectors = _decomposed(kernel.double() / n)
    kept = values > (_ROUNDING if kernel.dtype == torch.float64 else _ROUNDING**0.5) * values[-1]
    return values[kept], (vectors[:, kept] / (n * values[kept]).sqrt()).to(kernel.dtype)


def _decomposed(
    matrix: Tensor,
) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors."""
    what = f"decomposing a {len(matrix):,} x {len(matrix):,} matrix"
    report(0, 1, what)
    values, vectors = torch.linalg.eigh(matrix)
    report(1, 1, what)
    return values, vectors
