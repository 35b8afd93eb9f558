"""Products of large matrices, one block at a time: float64 arithmetic on float32 data without a float64 copy."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_BYTES = 256 * 2**20
# Data that goes through several operations is processed faster in blocks that fit into a processor's cache.
CACHED_BYTES = 16 * 2**20


def blocks(count: int, bytes_each: int, cached: bool = False) -> Iterator[slice]:
    """Yield slices of ``range(count)`` whose items together take up to ``BLOCK_BYTES`` (or ``CACHED_BYTES``)."""
    size = max(1, min(count, (CACHED_BYTES if cached else BLOCK_BYTES) // max(bytes_each, 1)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def inner(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right.T`` in float64 for inputs of any precision: ``[a, p]`` and ``[b, p]`` to ``[a, b]``."""
    product = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    for columns in blocks(left.shape[1], 8 * (len(left) + len(right))):
        product += left[:, columns].double() @ right[:, columns].double().T
    return product


def rotated(rows: Tensor, vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``rows @ vectors``, computed in float64 and stored in ``dtype``: ``[a, p]``, ``[p, b]`` to ``[a, b]``."""
    result = torch.empty(len(rows), vectors.shape[1], dtype=dtype, device=rows.device)
    for chosen in blocks(len(rows), 8 * sum(vectors.shape)):
        result[chosen] = (rows[chosen].double() @ vectors).to(dtype)
    return result
