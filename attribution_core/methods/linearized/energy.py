"""Mean squared effect of weight changes on a linear model's evaluation outputs."""

import math

import torch
from torch import Tensor

from attribution_core.methods.linalg.blocked import inner

# F is split into this many blocks of columns: with b of them a product costs (1 + 1/b) / 2 of the full one.
_COLUMN_BLOCKS = 6


class EvaluationRoot:
    """``rows R^T / sqrt(m)`` with the R of a QR decomposition of the evaluation features, half of which is zero.

    So ``F = R^T R / m`` (see :class:`EvaluationEnergy`), and the products' inner products are those of the rows with F.
    """

    def __init__(self, features: Tensor, dtype: torch.dtype) -> None:
        """Decompose the features ``[m, p]``; products are in ``dtype``."""
        root = (torch.linalg.qr(features.double(), mode="r").R / len(features) ** 0.5).to(dtype)
        width = max(1, math.ceil(len(root) / _COLUMN_BLOCKS))
        self._parts = [(start, root[start : start + width, start:].T.clone()) for start in range(0, len(root), width)]

    def __call__(self, rows: Tensor) -> Tensor:
        """Return products ``[b, min(m, p)]`` of rows ``[b, p]``."""
        return torch.cat([rows[:, start:] @ part for start, part in self._parts], dim=1)


class EvaluationEnergy:
    """``sum_c d_c^T F d_c`` with ``F = sum_j Psi_j^T Psi_j / m`` (unique information, eq. 9).

    F is symmetric, so only its upper triangle is multiplied, and entries above the diagonal count twice. If there are
    too few evaluation examples for that to pay off, their features are used directly.
    """

    def __init__(self, features: Tensor) -> None:
        """Compute F from the features of the evaluation examples, ``[m, a, p]``."""
        rows, p = features.flatten(0, 1), features.shape[2]
        self._examples = len(features)
        self._rows = rows if 2 * len(rows) <= p else None
        self._column_blocks: list[tuple[slice, Tensor]] = []
        if self._rows is None:
            gram = (inner(rows.T, rows.T) / self._examples).to(rows.dtype)
            upper = 2 * gram.triu(1) + gram.diagonal().diag()
            width = max(1, math.ceil(p / _COLUMN_BLOCKS))
            columns = [slice(start, min(start + width, p)) for start in range(0, p, width)]
            self._column_blocks = [(each, upper[: each.stop, each].clone()) for each in columns]

    def __call__(self, changes: Tensor) -> Tensor:
        """Return the energies ``[block]`` of changes ``[block, c, p]``, in their precision."""
        block, c, p = changes.shape
        rows = changes.reshape(block * c, p)
        if self._rows is not None:
            energy = (rows @ self._rows.T.to(rows.dtype)).square().sum(dim=1) / self._examples
        else:
            energy = rows.new_zeros(len(rows))
            for columns, above in self._column_blocks:
                energy += ((rows[:, : columns.stop] @ above.to(rows.dtype)) * rows[:, columns]).sum(dim=1)
        return energy.reshape(block, c).sum(dim=1)
