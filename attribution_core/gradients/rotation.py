r"""Orthonormal bases of layers' inputs and output gradients, at the cost of their rank.

The factor ``X^T X`` of r rows X ``[r, d]`` has rank r. With few rows its eigenvectors follow from the small Gram matrix
``X X^T = W Lambda W^T``: ``U = X^T W Lambda^{-1/2}``, ``d r^2`` multiplications and an eigendecomposition of size r in
place of ``d^3``. All other eigenvalues are zero, so *any* orthonormal basis of the complement of U completes the
eigenvectors. Householder's method gives one without forming it: the reflections that reduce U,

    Q = I - V T V^T,     V [d, r] lower trapezoidal,     T^{-1} = diag(1 / tau) + striu(V^T V)

(Schreiber and Van Loan, "A storage-efficient WY representation for products of Householder transformations", 1989), is
orthogonal, and its first r columns are those of U up to signs. Multiplying a row by Q takes ``2 d r`` multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Eigenvalues of a Gram matrix below this share of the largest are rounding.
_ROUNDING = 1e-12
_COLUMN_BLOCKS = 4  # of a symmetric matrix that is summed


@dataclass(frozen=True)
class Reflections:
    """A square, orthonormal basis ``Q = I - V T V^T`` of which only r columns matter.

    Attributes:
        vectors: V, ``[d, r]``.
        weighted: ``T V^T``, ``[r, d]``.
    """

    vectors: Tensor
    weighted: Tensor

    @classmethod
    def completing(cls, columns: Tensor, dtype: torch.dtype) -> Reflections:
        """Return the basis whose first columns span those given, one by one; ``[d, r]``, float64, orthonormal."""
        reduced, tau = torch.geqrf(columns)
        v = reduced.tril(-1) + torch.eye(*columns.shape, dtype=columns.dtype, device=columns.device)
        # tau is 0 where a column needs no reflection, and 1 or more elsewhere.
        inverse = (v.T @ v).triu(1) + torch.diag(1 / tau.clamp(min=1e-100))
        weighted = torch.linalg.solve_triangular(inverse, v.T, upper=True)
        return cls(v.to(dtype), weighted.to(dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of Q, ``(d, d)``."""
        return len(self.vectors), len(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def after(self, rows: Tensor) -> Tensor:
        """Return ``rows @ Q``."""
        return rows - (rows @ self.vectors) @ self.weighted


# Orthonormal columns: as a matrix, or as a square basis that is not formed.
Basis = Tensor | Reflections


def completed(columns: Tensor) -> Tensor:
    """Return a square, orthonormal matrix whose first columns are those given up to signs."""
    if columns.shape[0] == columns.shape[1]:
        return columns
    return Reflections.completing(columns, columns.dtype).after(torch.eye(len(columns)).to(columns))


def times(rows: Tensor, basis: Basis) -> Tensor:
    """Return ``rows @ basis``."""
    return rows @ basis if isinstance(basis, Tensor) else basis.after(rows)


def rotate(gradients: Tensor, left: Basis | None, right: Basis | None) -> Tensor:
    """Return ``left^T G right`` of every gradient as a matrix G ``[rows, columns]``.

    Args:
        gradients: Flattened gradients, ``[b, k, rows columns]``.
        left: Basis of the rows, ``[rows, r]``; None is the identity.
        right: Basis of the columns, ``[columns, s]``; None is the identity.

    Returns:
        Rotated gradients ``[b, k, r s]``.
    """
    if left is None and right is None:
        return gradients
    columns = gradients.shape[2] // len(left) if left is not None else len(right) if right is not None else 1
    matrices = gradients.unflatten(2, (-1, columns))
    # (G^T left)^T, since a matrix on the right multiplies all gradients in one product, and one on the left does not
    matrices = matrices if left is None else times(matrices.mT, left).mT
    matrices = matrices if right is None else times(matrices, right)
    return matrices.flatten(2)


def add_gram(total: Tensor, rows: Tensor) -> None:
    """Add ``rows^T rows`` of rows ``[b, d]`` to the lower triangle of ``total`` ``[d, d]``, for 5/8 of the products.

    Entries above the diagonal mean nothing afterwards; ``torch.linalg.eigh`` does not read them.
    """
    width = -(-len(total) // _COLUMN_BLOCKS)
    for start in range(0, len(total), width):
        below, left, right = total[start:, start : start + width], rows[:, start:].T, rows[:, start : start + width]
        if total.dtype == rows.dtype:
            below.addmm_(left, right)
        else:
            below += left @ right


class SecondMoment:
    """A sum of outer products of rows, kept as the rows while they are fewer than half of its size."""

    def __init__(self) -> None:
        """Start without rows."""
        self._rows: list[Tensor] = []
        self._matrix: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not self._rows and self._matrix is None

    def add(self, rows: Tensor) -> None:
        """Add ``rows^T rows`` of rows ``[b, d]``."""
        held = sum(map(len, self._rows)) + len(rows)
        if self._matrix is None and 2 * held <= rows.shape[1]:
            self._rows.append(rows)
            return
        parts = [*self._rows, rows]
        self._rows = []
        if self._matrix is None:
            self._matrix = rows.new_zeros(rows.shape[1], rows.shape[1])
        for part in parts:
            add_gram(self._matrix, part)

    def eigenvectors(self) -> tuple[Tensor, Tensor]:
        """Return eigenvalues ``[r]``, descending, and eigenvectors ``[d, r]``, float64; r is below d with few rows.

        A whole matrix is decomposed in its own precision, where float32 takes half the time: its errors, of 1e-6 of the
        largest eigenvalue, are those of the sums themselves.
        """
        if self._matrix is not None:
            try:
                values, vectors = torch.linalg.eigh(self._matrix)
            except torch.linalg.LinAlgError:  # LAPACK may fail in float32 where the rank is far below the size
                values, vectors = torch.linalg.eigh(self._matrix.double())
            return values.double().flip(0).clamp(min=0), vectors.double().flip(1)
        rows = torch.cat(self._rows).double()
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = values > _ROUNDING * values[-1]
        values, vectors = values[kept].flip(0), vectors[:, kept].flip(1)
        return values, rows.T @ (vectors / values.sqrt())
