r"""Ridge regression in a kernel's eigenbasis, with the leave-one-out predictions that choose its lambda.

Classes are one-hot targets ``Y [n, k]``: with ``s = L / (L + lambda)`` the fit and the leverages are

    F = 1 mean(Y)^T + U diag(s) U^T Y,        h_i = 1/n + sum_a U_ia^2 s_a,

and the model trained without i, its intercept included, predicts ``Y_i - (Y_i - F_i) / (1 - h_i)``.

Values are fitted with weights, since a few wrong ones would pull at their neighbors: noise is Student's t of four
degrees of freedom, whose weights ``w_i = 5 / (4 + z_i^2)`` follow from the standardized leave-one-out residuals z, and
are iterated (iteratively reweighted least squares). With rows ``x_i`` of ``[1, U sqrt L]``,
``A = sum_i w_i x_i x_i^T + lambda I``, without a penalty on the intercept, and ``h_i = w_i x_i^T A^-1 x_i``, the
residual of the fit without i is ``e_i / (1 - h_i)``, and its variance ``sigma^2 (1 + (h_i / w_i) / (1 - h_i))``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from attribution_core.methods.linalg.blocked import blocks
from attribution_core.methods.linearized.defaults import FREEDOM
from attribution_core.methods.linearized.kernel_basis import KernelBasis

# Lambdas that are tried, as multiples of the mean squared norm of the centered features.
_LAMBDAS = torch.logspace(-4, 4, 33, dtype=torch.float64)
_LAMBDAS_OF_VALUES = torch.logspace(-4, 2, 13, dtype=torch.float64)
_NEWTON_STEPS = 8
_CLOSE = 1e-4  # relative step after which the temperature's own error is below 1e-8
_TEMPERATURES = (1e-2, 1e3)
_REWEIGHTINGS = 5
_REWEIGHTINGS_FROM_NEAR = 2


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regression at one lambda, and what it says of examples that it did not see.

    Attributes:
        weight_decay: Lambda, as a multiple of the mean squared norm of the centered features.
        loss: Mean leave-one-out ``-log p[label]``, in nats; of standardized values, that of Student's t.
        predictions: Of each training example by the model without it, ``[n, k]``.
        evaluated: Of the evaluation examples by the model of all training examples, ``[m, k]``.
        temperature: T in ``softmax(T predictions)``; 1 for values.
        deviations: Standard deviation of a value around its prediction, ``[n]``; None for classes.
        evaluated_deviations: The same of the evaluation examples, ``[m]``.
    """

    weight_decay: float
    loss: float
    predictions: Tensor
    evaluated: Tensor
    temperature: float = 1.0
    deviations: Tensor | None = None
    evaluated_deviations: Tensor | None = None


def leave_one_outs(basis: KernelBasis, targets: Tensor, multiples: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield each lambda, the predictions ``[n, k]`` of each example by the model without it, and s ``[r]``.

    Args:
        basis: Of the training examples.
        targets: One-hot labels or values, ``[n, k]``.
        multiples: Lambdas, as multiples of the mean squared norm of the centered features.

    Cost: ``2 n r k`` for each lambda, with rank r; several together take little longer than one, whose time is that of
    reading U.
    """
    targets = targets.to(basis.train)
    n, k = targets.shape
    mean, projected, squares = targets.mean(dim=0), basis.train.T @ targets, basis.train.square()
    shrunk = basis.eigenvalues[:, None] / (
        basis.eigenvalues[:, None] + basis.mean_squared_norm * multiples.to(basis.eigenvalues)
    )
    remaining = (1 - 1 / n - squares @ shrunk).clamp(min=torch.finfo(squares.dtype).eps)  # [n, lambdas]
    del squares
    for part in blocks(len(multiples), n * k * targets.element_size(), cached=True):
        fitted = basis.train @ (shrunk[:, part, None] * projected[:, None]).flatten(1)
        for place, fits in zip(range(part.start, part.stop), fitted.unflatten(1, (-1, k)).unbind(1), strict=True):
            residuals = targets - mean - fits
            yield float(multiples[place]), targets - residuals / remaining[:, place, None], shrunk[:, place]


def fit_classes(basis: KernelBasis, targets: Tensor) -> RidgeFit:
    """Return the fit of least leave-one-out cross-entropy over lambda and temperature.

    Args:
        basis: Of the training examples.
        targets: One-hot labels, ``[n, k]``.
    """
    targets = targets.to(basis.train)
    labels = targets.argmax(dim=1)
    mean, projected = targets.mean(dim=0), basis.train.T @ targets
    best, temperature = None, 1.0
    for multiple, predictions, shrunk in leave_one_outs(basis, targets, _LAMBDAS):
        temperature = best_temperature(predictions, labels, temperature)
        loss = float(cross_entropy(temperature * predictions, labels))
        if best is None or loss < best[1]:
            best = multiple, loss, predictions, mean + basis.evaluation @ (shrunk[:, None] * projected), temperature
    assert best is not None
    return RidgeFit(*best)


def best_temperature(predictions: Tensor, labels: Tensor, start: float = 1.0) -> float:
    """Minimize the mean cross-entropy of ``T predictions``, which is convex in T, by Newton's method."""
    own = predictions.gather(1, labels[:, None])[:, 0].mean()
    temperature = torch.tensor(start, dtype=predictions.dtype, device=predictions.device)
    for _ in range(_NEWTON_STEPS):
        probabilities = (temperature * predictions).softmax(dim=1)
        means = (probabilities * predictions).sum(dim=1)
        variance = ((probabilities * predictions.square()).sum(dim=1) - means.square()).mean()
        step = (own - means.mean()) / variance.clamp(min=torch.finfo(variance.dtype).tiny)
        # At most fourfold: far from the minimum the curvature there says little.
        temperature = (temperature + step).clamp(temperature / 4, 4 * temperature).clamp(*_TEMPERATURES)
        if float(step.abs() / temperature) < _CLOSE:
            break
    return float(temperature)


def fit_values(basis: KernelBasis, targets: Tensor, multiple: float | None = None) -> RidgeFit:
    """Return the fit of least leave-one-out loss under Student's t noise.

    Args:
        basis: Of the training examples.
        targets: Standardized values, ``[n, 1]``.
        multiple: Lambda, as a multiple of the mean squared norm; by default the best of thirteen.

    Cost: ``3 n r^2 + r^3 / 3`` for each reweighting, with rank r: five for the first lambda, the largest, and two for
    each of the others, which start from the weights of the one before.
    """
    targets = targets.to(basis.train)[:, 0]
    tried = _LAMBDAS_OF_VALUES.flip(0).tolist() if multiple is None else [multiple]
    weights, reweightings = torch.ones_like(targets), _REWEIGHTINGS
    fits: list[RidgeFit] = []
    for each in tried:
        fit, weights = _reweighted(basis, targets, each, weights, reweightings)
        reweightings = _REWEIGHTINGS_FROM_NEAR
        fits.append(fit)
    return min(fits, key=lambda fit: fit.loss)


def _reweighted(
    basis: KernelBasis, targets: Tensor, multiple: float, weights: Tensor, reweightings: int
) -> tuple[RidgeFit, Tensor]:
    """Return the fit at one lambda, and the weights that follow from it.

    Columns are divided by ``sqrt(L + lambda)``, so that the matrix to decompose is near the identity.
    """
    decay = multiple * basis.mean_squared_norm
    scale = (basis.eigenvalues / (basis.eigenvalues + decay)).sqrt()
    penalty = torch.cat([scale.new_zeros(1), 1 - scale.square()])

    def columns(coordinates: Tensor) -> Tensor:
        return torch.cat([coordinates.new_full((len(coordinates), 1), len(targets) ** -0.5), coordinates * scale], 1)

    rows, others = columns(basis.train), columns(basis.evaluation)
    smallest = torch.finfo(rows.dtype).eps
    for _ in range(reweightings):
        weighted = rows * weights[:, None]
        root = torch.linalg.cholesky(weighted.T @ rows + torch.diag(penalty))
        coefficients = torch.cholesky_solve((weighted.T @ targets)[:, None], root)
        spread = _squared_lengths(rows, root)  # h_i / w_i
        remaining = (1 - weights * spread).clamp(min=smallest)
        residuals = (targets - (rows @ coefficients)[:, 0]) / remaining
        relative = (1 + spread / remaining).sqrt()  # deviations in units of sigma
        standardized = residuals / relative
        noise = max(1.4826 * float(standardized.abs().median()), smallest)
        weights = (FREEDOM + 1) / (FREEDOM + (standardized / noise).square())
    tails = (FREEDOM + 1) / 2 * torch.log1p((standardized / noise).square() / FREEDOM)
    around = (1 + _squared_lengths(others, root) + basis.outside / decay).sqrt()
    fit = RidgeFit(
        multiple,
        float((tails + (noise * relative).log()).double().mean()),
        (targets - residuals)[:, None],
        others @ coefficients,
        deviations=noise * relative,
        evaluated_deviations=noise * around,
    )
    return fit, weights


def _squared_lengths(rows: Tensor, root: Tensor) -> Tensor:
    """Return ``x^T A^-1 x`` of each row x, with the Cholesky factor of A."""
    return torch.linalg.solve_triangular(root, rows.T, upper=False).square().sum(dim=0)
