"""Systems of linear equations."""

import torch
from torch import Tensor

# From about 150 rows on, PyTorch's batched factorization on the CPU gives wrong results, mostly without an error, once
# ``torch.set_num_threads`` has been called with more than one: https://github.com/pytorch/pytorch/issues/142815
UNBATCHED_FROM = 100


def solve(matrices: Tensor, right: Tensor) -> Tensor:
    """Return ``matrices^-1 right``: ``[..., a, a]`` and ``[..., a, c]`` of the same leading sizes -> ``[..., a, c]``.

    Calls ``torch.linalg.solve``, for large matrices on the CPU one at a time, since a batch of them may be wrong.
    """
    if matrices.device.type != "cpu" or matrices.shape[-1] < UNBATCHED_FROM or matrices.ndim == 2:
        return torch.linalg.solve(matrices, right)
    pairs = zip(matrices.flatten(0, -3), right.flatten(0, -3), strict=True)
    return torch.stack([torch.linalg.solve(matrix, each) for matrix, each in pairs]).reshape(right.shape)
