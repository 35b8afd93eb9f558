"""How far weight changes move a linear model's outputs, on average over its evaluation examples."""

import math

from torch import Tensor

from attribution_core.methods.linalg.blocked import inner

# Blocks of columns that F is taken in: with b of them its product costs (1 + 1/b) / 2 of the whole.
_PARTS = 6


class EvaluationEnergy:
    """``sum_c d_c^T F d_c`` with ``F = sum_j Psi_j^T Psi_j / m`` (unique information, eq. 9).

    F is symmetric, so only what lies on and above its diagonal is multiplied, and counts twice above it. Where there
    are too few evaluation examples for that to pay, their features themselves are used.
    """

    def __init__(self, features: Tensor) -> None:
        """Forms F from the evaluation examples' features, ``[m, a, p]``."""
        rows, p = features.flatten(0, 1), features.shape[2]
        self._examples = len(features)
        self._rows = rows if 2 * len(rows) <= p else None
        self._parts: list[tuple[slice, Tensor]] = []
        if self._rows is None:
            gram = (inner(rows.T, rows.T) / self._examples).to(rows.dtype)
            upper = 2 * gram.triu(1) + gram.diagonal().diag()
            width = max(1, math.ceil(p / _PARTS))
            columns = [slice(start, min(start + width, p)) for start in range(0, p, width)]
            self._parts = [(each, upper[: each.stop, each].clone()) for each in columns]

    def __call__(self, changes: Tensor) -> Tensor:
        """The energies ``[block]`` of changes ``[block, c, p]``, in their precision."""
        block, c, p = changes.shape
        rows = changes.reshape(block * c, p)
        if self._rows is not None:
            energy = (rows @ self._rows.T.to(rows.dtype)).square().sum(dim=1) / self._examples
        else:
            energy = rows.new_zeros(len(rows))
            for columns, above in self._parts:
                energy += ((rows[:, : columns.stop] @ above.to(rows.dtype)) * rows[:, columns]).sum(dim=1)
        return energy.reshape(block, c).sum(dim=1)
