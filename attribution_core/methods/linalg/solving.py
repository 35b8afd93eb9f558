"""Systems of linear equations."""

import torch
from torch import Tensor

# From about 150 rows on PyTorch's factorisation of a batch on the CPU comes out wrong, mostly without an error, once
# anybody has called ``torch.set_num_threads`` with more than one: https://github.com/pytorch/pytorch/issues/142815
ONE_BY_ONE_FROM = 100


def solve(matrices: Tensor, right: Tensor) -> Tensor:
    """``matrices^-1 right``, ``[..., a, a]`` and ``[..., a, c]`` of the same leading sizes -> ``[..., a, c]``.

    ``torch.linalg.solve``, but large matrices on the CPU one after another, since a batch of them may come out wrong.
    """
    if matrices.device.type != "cpu" or matrices.shape[-1] < ONE_BY_ONE_FROM or matrices.ndim == 2:
        return torch.linalg.solve(matrices, right)
    pairs = zip(matrices.flatten(0, -3), right.flatten(0, -3), strict=True)
    return torch.stack([torch.linalg.solve(matrix, each) for matrix, each in pairs]).reshape(right.shape)
