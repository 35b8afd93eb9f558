r"""Gradient descent on a quadratic as a sum of resolvents.

Training a linear model by gradient descent from zero gives ``w = g(X) b`` with ``X`` the (regularized) Gram matrix and

* continuous time: ``g(x) = (1 - exp(-tau x)) / x`` with ``tau`` = learning rate times time;
* discrete time:   ``g(x) = (1 - (1 - eta x)^t) / x``.

Both are entire, so Cauchy's formula on a contour around the poles turns them into a few resolvents,

    g(X) b  ~=  Re sum_q  coefficient_q (shift_q + rate X)^{-1} b,

and a resolvent minus one example is a k x k solve. Every leave-one-out in
:mod:`attribution_core.methods.linearized.model` relies on this. With ``y = tau x`` and the Bromwich integral

    (1 - exp(-y)) / x = tau / (2 pi i) * integral  e^s / (s (s + y)) ds

on a contour around the negative half-line (residue at 0: 1/x; at -y: -exp(-y)/x). Discrete time works in the same way
with ``z^t = e^s`` and the poles ``z = 1`` and ``z = 1 - eta x``.

The contour is Talbot's with the parameters of Dingfelder and Weideman, "Modified Talbot's contours" (2015). With 24
nodes in conjugate pairs (so 12 solves) the error is about 1e-12, the limit of float64 with this contour; with 12 nodes,
1e-6.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TALBOT_NODES = 24
SINGLE_NODES = 16  # for an error of about 1e-9, enough for float32 results
# Below this many steps the Talbot contour in z = exp(s/t) would come too close to its own images (z is 2 pi i t
# periodic in s), and a plain circle is cheap.
CIRCLE_STEPS = 64


@dataclass(frozen=True)
class Resolvents:
    """``g(X) ~= Re sum_q coefficients[q] * (shifts[q] + rate * X)^-1``.

    Attributes:
        coefficients: Complex coefficients, ``[nodes]``.
        shifts: Complex shifts, ``[nodes]``.
        rate: Factor of ``X`` in every resolvent.
    """

    coefficients: Tensor
    shifts: Tensor
    rate: float

    def inverses(self, x: Tensor) -> Tensor:
        """Return the diagonals of the resolvents for eigenvalues ``x`` ``[p]``: complex ``[nodes, p]``."""
        shifts = self.shifts.to(x.device)
        return 1.0 / (shifts[:, None] + self.rate * x.to(shifts.dtype))


def talbot(nodes: int = TALBOT_NODES) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Talbot's contour: ``(1/2 pi i) integral F(s) ds = sum over s and its conjugates``.

    Args:
        nodes: Even number of nodes on the whole contour.

    Returns:
        ``(s, w)``, complex128 ``[nodes / 2]`` each, of the upper half only: for an ``F`` with
        ``F(conj s) = conj F(s)`` the integral is ``Re sum 2 w F(s)``.
    """
    theta = (2 * torch.arange(1, nodes // 2 + 1, dtype=torch.float64) - 1) * math.pi / nodes
    cotangent = 1.0 / torch.tan(0.6407 * theta)
    s = nodes * torch.complex(0.5017 * theta * cotangent - 0.6122, 0.2645 * theta)
    derivative = nodes * torch.complex(
        0.5017 * cotangent - 0.5017 * 0.6407 * theta * (1.0 + cotangent**2), torch.full_like(theta, 0.2645)
    )
    return s, derivative / (1j * nodes)


def continuous_descent(tau: float, nodes: int = TALBOT_NODES) -> Resolvents:
    """Return the resolvents of gradient flow, ``g(x) = (1 - exp(-tau x)) / x``, for eigenvalues ``x >= 0``.

    Args:
        tau: Learning rate times training time, finite and ``>= 0``.
        nodes: Number of nodes of Talbot's contour.
    """
    s, w = talbot(nodes)
    return Resolvents(coefficients=2 * tau * w * torch.exp(s) / s, shifts=s, rate=tau)


def discrete_descent(learning_rate: float, steps: int, largest: float, nodes: int = TALBOT_NODES) -> Resolvents:
    """Return the resolvents of gradient descent, ``g(x) = (1 - (1 - eta x)^t) / x``, for ``0 <= x <= largest``.

    The poles ``z = 1 - eta x`` are in (-1, 1). Talbot's contour in ``log z`` encloses the positive ones; a second copy
    around the negative axis, ``z = -exp(s/t)``, is added only if ``eta x`` exceeds 1.

    Args:
        learning_rate: ``eta``.
        steps: ``t >= 0``.
        largest: Largest eigenvalue; ``eta * largest < 2`` or the iteration diverges (checked by the caller).
        nodes: Number of nodes of Talbot's contour.
    """
    if steps <= CIRCLE_STEPS:
        return _circle_descent(learning_rate, steps)
    s, w = talbot(nodes)
    # (eta / 2 pi i) integral z^t / ((z - 1)(z - 1 + eta x)) dz with dz = z ds / t; expm1 keeps z - 1 exact for large t.
    shifts = torch.expm1(s / steps)
    z, weights = shifts + 1, w * torch.exp(s)
    if learning_rate * largest > 1:
        sign = -1.0 if steps % 2 else 1.0
        shifts = torch.cat([shifts, -z - 1])
        z, weights = torch.cat([z, -z]), torch.cat([weights, sign * weights])
    return Resolvents(2 * learning_rate * weights * z / (steps * shifts), shifts, learning_rate)


def _circle_descent(learning_rate: float, steps: int) -> Resolvents:
    """Return the trapezoidal rule on a circle ``|z| = rho`` around all poles, exact up to ``rho^-N`` for ``t < N``.

    With N = 4t + 64 nodes and rho^N = 1e16 the factor rho^t, by which rounding grows, stays below 1e4.
    """
    nodes = 4 * steps + 64
    angle = (2 * torch.arange(nodes // 2, dtype=torch.float64) + 1) * math.pi / nodes
    z = torch.polar(torch.full_like(angle, 1e16 ** (1 / nodes)), angle)
    return Resolvents(
        coefficients=2 * learning_rate * z ** (steps + 1) / (nodes * (z - 1)), shifts=z - 1, rate=learning_rate
    )


def ridge() -> Resolvents:
    """Return the single resolvent of training to the end with weight decay, ``g(x) = 1/x`` for ``x > 0``."""
    one = torch.ones(1, dtype=torch.complex128)
    return Resolvents(coefficients=one, shifts=0 * one, rate=1.0)
