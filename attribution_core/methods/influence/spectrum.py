r"""Influence at every damping from one eigendecomposition: the solvers ``exact`` and ``sketch``.

With the curvature ``C = (1/n) sum_i J_i^T M_i M_i^T J_i = (1/n) R^T R``
(:mod:`attribution_core.methods.curvature.columns`), R ``[n q, p]``, and ``C = U diag(values) U^T``, an effect needs
only the gradients' coordinates in the eigenvectors:

    effect[i, j] = (1/n) g_j^T (C + damping I)^{-1} g_i = (1/n) sum_r (g_j . u_r)(g_i . u_r) / (values_r + damping)

U is computed from the smaller of two matrices:

- **primal**, ``R^T R`` ``[p, p]``: ``n q p^2`` multiplications and an eigendecomposition of size p. If p is large,
  gradients are sketched (:mod:`attribution_core.gradients.kronecker`), and ``ROWS`` of R's n q rows are drawn, in
  proportion to their squared norms;
- **dual** (Woodbury's form), ``R R^T`` ``[n q, n q]``, whose eigenvectors v give ``u = R^T v / sqrt(n value)`` and
  ``g . u = (g R^T) v / sqrt(n value)``: only inner products of gradients are needed, assembled layer by layer from
  factors (:mod:`attribution_core.gradients.ntk`), and nothing of size p is kept.

The r directions u that either form yields span a part of the parameter space only: a sketch leaves the others out, and
the dual form has none outside the rows, nor along eigenvalues that rounding hides. A gradient's part outside,
``o_i = g_i - P g_i`` with ``P = U U^T``, counts with the curvature along itself:

    effect[i, j] = (1/n) [sum_r (g_j . u_r)(g_i . u_r) / (values_r + damping)
                          + (o_i . o_j) / sqrt((v_i + damping) (v_j + damping))],   v_i = o_i^T C o_i / |o_i|^2
    o_i . o_j = g_i . g_j - sum_r (g_j . u_r)(g_i . u_r)

A confidently wrong label lies there: its gradient is large, and its curvature ``p (1 - p)`` vanishes. In the dual form
``v = 0``. In a sketch, v is measured on ``OUTSIDE_ROWS`` rows of R; with ``v = 0``, self-influence was up to five times
too large. The first term alone is too small, since it is the best that weights in the span can do. By Jensen's
inequality the second is too small as well, except for what C couples between the span and its complement, which makes
the sum too large for some examples (the documentation's limits say by how much). The inner products come from factors
too: ``in + out`` multiplications a pair for a Linear layer, at most one for each parameter.

So for n = 1,000 examples the dual form gives the empirical curvature of any network exactly, for one backward pass per
example and an eigendecomposition of size 1,000.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import (
    ParameterPlan,
    gradient_norms,
    gradient_products,
    jacobian,
    kronecker_plan,
    layer_kernels_apply,
    plan_parameters,
    tangent_kernels,
)
from attribution_core.gradients.rotation import add_gram
from attribution_core.methods.curvature.columns import Curvature, curvature_columns, num_columns
from attribution_core.methods.curvature.iterative import hessian_matrix
from attribution_core.methods.curvature.losses import Loss, errors_of, prediction_errors
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import report, silenced
from attribution_core.training import outputs_of

# Size of the largest matrix to decompose if gradients may be sketched.
DIMENSION = 2048
# Size of the largest matrix to decompose if nothing may be sketched.
EXACT_SIZE = 12_000
# Maximum number of rows of R (columns of M) used with sketched gradients; if there are more, this many are drawn.
ROWS = 8192
# Number of rows of R on which the curvature outside a sketch is measured.
OUTSIDE_ROWS = 256
# Eigenvalues below this share of the largest are rounding errors, and their eigenvectors are arbitrary: the directions
# count as flat. It holds for kernels in float64; for float32, its square root.
_ROUNDING = 1e-12
_BLOCK = 1024


class Outside(NamedTuple):
    """Parts of the loss gradients outside the span of the eigenvectors.

    Attributes:
        products: Inner products of those parts of training and evaluation gradients, ``[n, m]``.
        own: Squared norms of those parts of the training gradients, ``[n]``.
        along_train: Curvature along those parts of the training gradients, ``[n]``.
        along_evaluation: Curvature along those parts of the evaluation gradients, ``[m]``.
    """

    products: Tensor
    own: Tensor
    along_train: Tensor
    along_evaluation: Tensor

    def effects(self, damping: float) -> Tensor:
        """Return what these parts add to n times the effects, ``[n, m]``."""
        scaled = self.products * (self.along_train + damping).rsqrt()[:, None]
        return scaled.mul_((self.along_evaluation + damping).rsqrt())

    def self_influence(self, damping: float) -> Tensor:
        """Return what these parts add to n times the self-influence, ``[n]``."""
        return self.own / (self.along_train + damping)

    def on(self, chosen: Tensor) -> "Outside":
        """Return the parts with only the evaluation examples of the given indices."""
        return self._replace(products=self.products[:, chosen], along_evaluation=self.along_evaluation[chosen])


@dataclass(frozen=True)
class InfluenceSpectrum:
    """Gradients in the eigenvectors of a curvature.

    Attributes:
        values: Eigenvalues of C, the curvature of the mean loss, ascending, ``[r]``, float64.
        train: Coordinates of the training examples' loss gradients, ``[n, r]``.
        evaluation: Coordinates of the evaluation examples' loss gradients, ``[m, r]``.
        outside: Parts of the gradients outside the eigenvectors' span; None if these span everything.
        flat_below: Share of the largest eigenvalue below which directions count as flat, with those outside the span;
            0 if every direction has its own eigenvalue.
        kept_energy: Share of the training examples' loss gradients (their squared norms) that a sketch keeps, 0 to 1;
            None without a sketch.
    """

    values: Tensor
    train: Tensor
    evaluation: Tensor
    outside: Outside | None = None
    flat_below: float = 0.0
    kept_energy: float | None = None

    def effects(self, damping: float) -> Tensor:
        """Return ``effect[i, j]``, the loss on j after the removal of i minus before, ``[n, m]``.

        Raises:
            InputError: The damped curvature is not positive, so it has no inverse.
        """
        weighted = (self.evaluation / self._damped(damping)).to(self.train.dtype)
        effect = self.train @ weighted.T
        if self.outside is not None:
            effect += self.outside.effects(damping)
        return effect / len(self.train)

    def self_influence(self, damping: float) -> Tensor:
        """Return ``effect[i, i]`` of the training examples on themselves, ``[n]``; errors as in :meth:`effects`."""
        own = self.train.square().double() @ (1 / self._damped(damping))
        if self.outside is not None:
            own += self.outside.self_influence(damping)
        return own / len(self.train)

    def on(self, chosen: Tensor) -> "InfluenceSpectrum":
        """Return the spectrum with only the evaluation examples of the given indices."""
        outside = None if self.outside is None else self.outside.on(chosen)
        return replace(self, evaluation=self.evaluation[chosen], outside=outside)

    def _damped(self, damping: float) -> Tensor:
        least = float(self.values.min()) if len(self.values) else 0.0
        if not damping > 0 or not least + damping > 0:
            hint = f", above {-least:.3g} for this curvature" if least < 0 else ""
            raise InputError(f"The damping must be positive{hint}, not {damping:.3g}.")
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
        model: Model at its trained weights.
        train: Training inputs ``[n, ...]`` and targets.
        evaluation: Evaluation inputs ``[m, ...]`` and targets; None if only self-influence is needed.
        loss: Loss of the training and evaluation examples.
        curvature: ``"ggn"``, ``"fisher"`` or ``"empirical"``.
        dimension: Size of the largest matrix to decompose; gradients are sketched above it. None never sketches.
        parameters: ``"all"``, ``"head"`` or a regular expression over parameter names.
        seed: Seed of the sketch, and of the labels drawn for ``"fisher"``.

    Raises:
        InputError: Gradients may not be sketched and both matrices are too large.
    """
    plan, outputs = plan_parameters(model, train[0], parameters), outputs_of(model, train[0])
    own = Rows(train[0], prediction_errors(outputs, train[1], loss))
    columns = num_columns(outputs, curvature)
    size = min(columns, plan.width)
    sketched = dimension is not None and size > dimension
    if size > EXACT_SIZE and not sketched:
        raise InputError(
            f"An exact {curvature} of {plan.width:,} parameters and {len(outputs):,} examples needs a matrix of "
            f'{size:,} rows decomposed; the maximum is {EXACT_SIZE:,}: use solver="sketch".'
        )
    which, mixture = curvature_columns(outputs, train[1], loss, curvature, ROWS if sketched else columns, seed)
    rows = Rows(train[0][which.to(train[0].device)], mixture)
    other, drawn = Rows.of_losses(model, evaluation or _first_of(train), loss), None
    whole, others = plan, other
    if sketched:
        plan = kronecker_plan(model, rows.inputs, plan, dimension or 0, seed, rows.mixture)
        which, mixture = curvature_columns(outputs, train[1], loss, curvature, OUTSIDE_ROWS, seed)
        drawn = Rows(train[0][which.to(train[0].device)], mixture)
        others = other.with_others(drawn)
    if plan.width <= len(rows.inputs):
        spectrum = _primal(model, rows, own, others, plan, outputs.dtype if sketched else torch.float64)
        return spectrum if drawn is None else _with_outside(spectrum, model, own, other, drawn, whole)
    dtype = torch.float64 if dimension is None else outputs.dtype
    is_own = curvature == "empirical" and not sketched
    spectrum = _dual(model, rows, None if is_own else own, others, plan, dtype)
    return _with_outside(spectrum, model, own, other, drawn, whole)


def hessian_spectrum(
    model: nn.Module,
    train: InputsAndTargets,
    evaluation: InputsAndTargets | None,
    loss: Loss,
    parameters: str = "all",
) -> InfluenceSpectrum:
    """Decompose the Hessian of the mean loss, which may have negative eigenvalues.

    Arguments are those of :func:`influence_spectrum`.

    Raises:
        InputError: There are more than ``EXACT_SIZE`` parameters.
    """
    plan = plan_parameters(model, train[0], parameters)
    if plan.width > EXACT_SIZE:
        raise InputError(
            f"The Hessian of {plan.width:,} parameters is too large to decompose (the maximum is {EXACT_SIZE:,}): use "
            'solver="cg", or curvature="ggn".'
        )
    values, vectors = _decomposed(hessian_matrix(model, train, plan, loss).double())
    losses = (Rows.of_losses(model, split, loss) for split in (train, evaluation or _first_of(train)))
    own, other = (each.gradients(model, plan) for each in losses)
    basis = vectors.to(own.dtype)
    return InfluenceSpectrum(values, own @ basis, other @ basis)


def _first_of(examples: InputsAndTargets) -> InputsAndTargets:
    """Return the first example, which replaces the evaluation examples if there are none."""
    return examples[0][:1], examples[1][:1]


class Rows(NamedTuple):
    """Gradients of ``sum_c mixture_bc f_c(x_b)``, one per input.

    Attributes:
        inputs: Inputs, ``[b, ...]``.
        mixture: Weights of the outputs, ``[b, k]``.
    """

    inputs: Tensor
    mixture: Tensor

    @staticmethod
    def of_losses(model: nn.Module, examples: InputsAndTargets, loss: Loss) -> "Rows":
        """Return the gradients of the examples' losses."""
        return Rows(examples[0], errors_of(model, examples, loss))

    def gradients(
        self,
        model: nn.Module,
        plan: ParameterPlan,
    ) -> Tensor:
        """Return the gradients' coordinates in the plan, ``[b, p]``."""
        return jacobian(model, self.inputs, plan, self.mixture)[1][:, 0]

    def with_others(self, others: "Rows") -> "Rows":
        """Return these gradients and others."""
        return Rows(torch.cat([self.inputs, others.inputs]), torch.cat([self.mixture, others.mixture]))


def _primal(
    model: nn.Module,
    rows: Rows,
    own: Rows,
    other: Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> InfluenceSpectrum:
    """Decompose the primal form in a precision; sketched gradients have no use for more than their own."""
    total = rows.mixture.new_zeros(plan.width, plan.width, dtype=torch.float64)
    for start in range(0, len(rows.inputs), _BLOCK):
        where = slice(start, start + _BLOCK)
        with silenced():
            half = Rows(rows.inputs[where], rows.mixture[where]).gradients(model, plan)
        add_gram(total, half)
        report(min(start + _BLOCK, len(rows.inputs)), len(rows.inputs), "curvature")
    values, vectors = _decomposed((total / len(own.inputs)).to(dtype))
    basis = vectors.to(own.mixture.dtype)
    train, evaluation = (each.gradients(model, plan) for each in (own, other))
    return InfluenceSpectrum(values.double().clamp(min=0), train @ basis, evaluation @ basis)


def _dual(
    model: nn.Module,
    rows: Rows,
    own: Rows | None,
    other: Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> InfluenceSpectrum:
    """Decompose the dual form; own is None if the training gradients are the rows."""
    n = len(rows.inputs) if own is None else len(own.inputs)
    gradients = other if own is None else own.with_others(other)
    kernel, cross = kernels_of(model, rows, gradients, plan, dtype)
    values, vectors, rounding = _directions(kernel, n)
    coordinates = cross @ vectors
    if own is None:
        return InfluenceSpectrum(values, kernel @ vectors, coordinates, flat_below=rounding)
    return InfluenceSpectrum(values, coordinates[:n], coordinates[n:], flat_below=rounding)


def _with_outside(
    spectrum: InfluenceSpectrum,
    model: nn.Module,
    own: Rows,
    other: Rows,
    drawn: Rows | None,
    plan: ParameterPlan,
) -> InfluenceSpectrum:
    """Add what the gradients have outside the directions, in the plan of whole parameters.

    With a sketch, the last evaluation coordinates are those of ``drawn``, rows of R from which the curvature outside is
    estimated: ``o^T C o = (1/n) sum_r (o . R_r)^2``.
    """
    n, m = len(own.inputs), len(other.inputs)
    norms = gradient_norms(model, own, plan)
    inside = spectrum.train.double().square().sum(dim=1)
    squared = (norms - inside).clamp(min=0)
    if drawn is None:
        products = _outside_products(model, own, other, plan, spectrum.train, spectrum.evaluation)
        flat = products.new_zeros(n), products.new_zeros(m)
        return replace(spectrum, outside=Outside(products, squared.to(products.dtype), *flat))
    evaluation, rows = spectrum.evaluation[:m], spectrum.evaluation[m:]
    products = _outside_products(model, own, other.with_others(drawn), plan, spectrum.train, spectrum.evaluation)
    of_others = gradient_norms(model, other, plan) - evaluation.double().square().sum(dim=1)
    against_rows = products[:, m:], _outside_products(model, other, drawn, plan, evaluation, rows)
    along = [
        (part.double().square().sum(dim=1) / n / norm.clamp(min=1e-300)).to(products.dtype)
        for part, norm in zip(against_rows, (squared, of_others), strict=True)
    ]
    outside = Outside(products[:, :m], squared.to(products.dtype), *along)
    kept = float(inside.sum() / norms.sum().clamp(min=1e-300))
    return replace(spectrum, evaluation=evaluation, outside=outside, kept_energy=kept)


def _outside_products(
    model: nn.Module, left: Rows, right: Rows, plan: ParameterPlan, of_left: Tensor, of_right: Tensor
) -> Tensor:
    """Return the inner products of the parts outside the directions, given the coordinates inside."""
    products = gradient_products(model, left, right, plan).to(of_left.dtype)
    return products.addmm_(of_left, of_right.T, alpha=-1)


def kernels_of(
    model: nn.Module,
    left: Rows,
    right: Rows,
    plan: ParameterPlan,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Return the inner products of the left rows with themselves and of the right rows with the left."""
    if layer_kernels_apply(plan):
        mixtures = left.mixture, right.mixture
        return tangent_kernels(model, left.inputs, right.inputs, plan, mixtures, dtype)[:2]
    if all(chosen.is_whole for chosen in plan.coordinates.values()):  # some of parameters without factors
        return gradient_products(model, left, left, plan, dtype), gradient_products(model, right, left, plan, dtype)
    own, others = (each.gradients(model, plan).to(dtype) for each in (left, right))
    return own @ own.T, others @ own.T


def _directions(
    kernel: Tensor,
    n: int,
) -> tuple[Tensor, Tensor, float]:
    """Return eigenvalues, the matrix from inner products with rows to coordinates in eigenvectors, and the rounding.

    The rounding is the share of the largest eigenvalue of C below which eigenvalues and their vectors are left out.
    """
    values, vectors = _decomposed(kernel.double() / n)
    rounding = _ROUNDING if kernel.dtype == torch.float64 else _ROUNDING**0.5
    kept = values > rounding * values[-1]
    return values[kept], (vectors[:, kept] / (n * values[kept]).sqrt()).to(kernel.dtype), rounding


def _decomposed(
    matrix: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues, ascending, and the eigenvectors."""
    what = f"decomposing a {len(matrix):,} x {len(matrix):,} matrix"
    report(0, 1, what)
    values, vectors = torch.linalg.eigh(matrix)
    report(1, 1, what)
    return values, vectors
