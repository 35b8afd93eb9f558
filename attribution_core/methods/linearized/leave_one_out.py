r"""Leave-one-out formulas of a linear model, in the eigenbasis of its Gram matrix.

:mod:`attribution_core.methods.linearized.model` derives them and defines the notation. All take a block of examples, or
of groups, at a time: feature rows ``[block, a, p]`` and residuals ``[block, a, c]``. Per-example work is done in the
precision of the features, float64 or float32; the spectrum and its resolvents are always float64.
"""

import torch
from torch import Tensor

from attribution_core.methods.linalg import blocked
from attribution_core.methods.linalg.contour import Resolvents
from attribution_core.methods.linalg.solving import solve

# Leverages this close to 1 count as 1: the example alone decides some direction, and the limit below applies.
LEVERAGE_TOLERANCE = 1e-9
# Up to this many rows of an example, or of a group, the products of all pairs are formed.
MOST_PAIRED = 32


class ResolventChanges:
    """``Re sum_q c_q D_q Psi_i^T (I - rho Psi_i D_q Psi_i^T)^-1 (r_i - rho Psi_i D_q beta)``.

    Complex matrices multiply the features as pairs of real ones. Terms that all examples share are computed once, in
    float64, and then rounded to the precision of the features.

    Attributes:
        weighted: ``c_q D_q``, real parts of all nodes and then their negative imaginary parts, ``[2 q, p]``, float64.
    """

    def __init__(self, gradient: Tensor, spectrum: Tensor, resolvents: Resolvents, dtype: torch.dtype) -> None:
        """Compute the terms that all examples share.

        Args:
            gradient: ``beta``, ``[c, p]``, float64.
            spectrum: ``Lambda + lambda``, ``[p]``, float64.
            resolvents: ``c_q``, the shifts in ``D_q``, and ``rho``.
            dtype: Precision of the features, float64 or float32.
        """
        precision = torch.complex128 if dtype == torch.float64 else torch.complex64
        inverses = resolvents.inverses(spectrum)  # D_q: [q, p]
        weighted = resolvents.coefficients.to(inverses.device)[:, None] * inverses
        filtered = resolvents.rate * inverses[:, None, :] * gradient
        self._nodes = len(inverses)
        self._inverses = (resolvents.rate * inverses).to(precision)  # rho D_q: [q, p]
        self._filtered = _side_by_side(filtered.flatten(0, 1).T.to(precision))  # rho D_q beta: [p, 2 q c]
        # c_q D_q, stacked so that real and imaginary parts [block, 2 q] give a real part: [2 q, p]
        self.weighted = torch.cat([weighted.real, -weighted.imag])

    def __call__(self, features: Tensor, residuals: Tensor) -> Tensor:
        """Return the changes ``[block, c, p]`` for features ``[block, a, p]`` and residuals ``[block, a, c]``."""
        block, a, p = features.shape
        c = residuals.shape[2]
        # Re sum_q c_q D_q solved_q for each row a and column c, then times Psi_i
        mixed = self.solved(features, residuals) @ self.weighted.to(features.dtype)
        mixed = mixed.reshape(block, a, c, p).mul_(features[:, :, None, :])
        return mixed[:, 0] if a == 1 else mixed.sum(dim=1)

    def solved(self, features: Tensor, residuals: Tensor) -> Tensor:
        """Return ``(I - rho Psi_i D_q Psi_i^T)^-1 (r_i - rho Psi_i D_q beta)`` for all nodes, ``[block a c, 2 q]``.

        The real parts of all nodes come first, then the imaginary ones, as in ``weighted``.
        """
        block, a, p = features.shape
        c, nodes = residuals.shape[2], self._nodes
        # rho Psi_i D_q Psi_i^T for all nodes in one product: [block, q, a, a]
        inner = _weighted_inner_products(features, self._inverses)
        # rho Psi_i D_q beta: [block, q, a, c]
        start = _complex(features.reshape(block * a, p) @ self._filtered)
        right = residuals[:, None] - start.reshape(block, a, nodes, c).transpose(1, 2)
        identity = torch.eye(a, dtype=inner.dtype, device=inner.device)
        solved = right / (1 - inner) if a == 1 else solve(identity - inner, right)
        solved = solved.permute(0, 2, 3, 1).reshape(block * a * c, nodes)
        return torch.cat([solved.real, solved.imag], dim=1)


def interpolation_changes(features: Tensor, residuals: Tensor, gradient: Tensor, eigenvalues: Tensor) -> Tensor:
    r"""Return the change of the minimum-norm least-squares solution: training to the end without decay.

    There is one resolvent, ``D = (Lambda + lambda)^-1``, and lambda -> 0. With ``M = I - Psi_i Lambda^-1 Psi_i^T`` (one
    minus the leverage: entries of ``I - V_i V_i^T``, exact), ``S = Psi_i Lambda^-2 Psi_i^T``,
    ``e = r_i - Psi_i Lambda^-1 beta`` and ``h = Psi_i Lambda^-2 beta``, the solve is
    ``(M + lambda S) x = e + lambda h``. Where M is positive, x is ``M^-1 e`` (fewer features than data). Where M is 0,
    e is 0 as well and the next order decides: ``S x = h``, which is the kernel form of NTK influence, eq. 9 (more
    features than data). Both may occur in one example.
    """
    whitened = features / eigenvalues.sqrt()
    leverage = torch.eye(features.shape[1], dtype=features.dtype, device=features.device) - (
        whitened @ whitened.transpose(1, 2)
    )
    error = residuals - torch.einsum("bap,cp->bac", features / eigenvalues, gradient)
    once_more = features / eigenvalues**2
    second = once_more @ features.transpose(1, 2)
    following = torch.einsum("bap,cp->bac", once_more, gradient)
    values, vectors = torch.linalg.eigh(leverage)
    null = values < LEVERAGE_TOLERANCE
    inverse = torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, values))
    regular = vectors @ (inverse[..., None] * (vectors.transpose(1, 2) @ error))
    # Solve on the null space, padded with ones elsewhere so that the whole block is one batched solve.
    mask = null.to(values.dtype)
    rotated = vectors.transpose(1, 2) @ second @ vectors * mask[:, :, None] * mask[:, None, :]
    rotated = rotated + torch.diag_embed(1.0 - mask)
    target = mask[..., None] * (vectors.transpose(1, 2) @ (following - second @ regular))
    solved = regular + vectors @ solve(rotated, target)
    return torch.einsum("bac,bap->bcp", solved, features / eigenvalues)


def _weighted_inner_products(features: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_p x_ap w_qp x_bp``: ``[block, a, p]`` and complex ``[q, p]`` -> ``[block, q, a, a]``.

    For a few rows, products of pairs are formed once and serve all nodes in one matrix product. For a large group,
    forming the ``a^2 p`` numbers would take longer than a matrix product for each node.
    """
    block, a, p = features.shape
    if a == 1:
        return _real_times_complex(features[:, 0].square(), weights.T)[:, :, None, None]
    if a <= MOST_PAIRED and 8 * p * a * (a + 1) // 2 <= blocked.BLOCK_BYTES:
        upper = torch.triu_indices(a, a, device=features.device)
        pairs = features[:, upper[0]] * features[:, upper[1]]
        products = _real_times_complex(pairs.reshape(-1, p), weights.T).reshape(block, -1, len(weights))
        inner = torch.empty(block, len(weights), a, a, dtype=weights.dtype, device=features.device)
        inner[:, :, upper[0], upper[1]] = products.transpose(1, 2)
        inner[:, :, upper[1], upper[0]] = products.transpose(1, 2)
        return inner
    columns = features.transpose(1, 2)
    nodes = [torch.complex((features * w.real) @ columns, (features * w.imag) @ columns) for w in weights]
    return torch.stack(nodes, dim=1)


def _real_times_complex(real: Tensor, weights: Tensor) -> Tensor:
    """Return ``real @ weights`` in half the work of a complex product."""
    return _complex(real @ _side_by_side(weights))


def _side_by_side(weights: Tensor) -> Tensor:
    """Return the real parts of a complex matrix and, to the right of them, the imaginary parts."""
    return torch.cat([weights.real, weights.imag], dim=1)


def _complex(parts: Tensor) -> Tensor:
    """Return the complex matrix whose parts lie side by side."""
    return torch.complex(*parts.tensor_split(2, dim=1))
