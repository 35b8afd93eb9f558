"""Linear models of the infinite-width kernel, over inputs of unit length."""

import torch
from torch import Tensor

from attribution_core.methods.linearized.kernel_influence import relu_ntk
from attribution_core.methods.linearized.model import LinearizedModel


def unit_vectors(n: int, d: int = 6, seed: int = 0) -> Tensor:
    """Return random inputs of unit length, ``[n, d]``."""
    draw = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw / draw.norm(dim=1, keepdim=True)


def kernel_model(n: int = 15, m: int = 6, k: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor, LinearizedModel]:
    """Return kernels ``[n, n]`` and ``[m, n]``, targets ``[n, k]`` and ``[m, k]``, and the model of the four."""
    x, z = unit_vectors(n), unit_vectors(m, seed=1)
    generator = torch.Generator().manual_seed(2)
    y, t = (torch.randn(each, k, generator=generator, dtype=torch.float64) for each in (n, m))
    zeros = torch.zeros(n, k), torch.zeros(m, k)
    return (
        relu_ntk(x, x),
        relu_ntk(z, x),
        y,
        t,
        LinearizedModel.from_kernels(relu_ntk(x, x), relu_ntk(z, x), *zeros, y, t),
    )
