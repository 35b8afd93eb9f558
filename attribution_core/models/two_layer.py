"""The two-layer ReLU network of the kernel-regime analysis, of which only the first layer is trained."""

import math

import torch
from torch import Tensor, nn


class TwoLayerReLU(nn.Module):
    """``f_c(x) = 1 / sqrt(m) sum_r a_cr relu(w_r . x)`` (NTK influence, eq. 1).

    The first layer starts from ``N(0, kappa^2)``; the second is drawn from {-1, 1} and stays, so it is a buffer and not
    a parameter. As the width m grows, its tangent kernel tends to ``relu_ntk`` for every output, whatever
    kappa; a small kappa keeps the first outputs near zero.

    Args:
        in_features: Numbers in one input, which is flattened.
        width: m.
        num_outputs: k; the paper has one.
        kappa: Standard deviation of the first layer's initial weights.
    """

    def __init__(self, in_features: int, width: int, num_outputs: int = 1, kappa: float = 0.01) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width, bias=False)
        nn.init.normal_(self.first.weight, std=kappa)
        signs = torch.randint(0, 2, (num_outputs, width)) * 2.0 - 1.0
        self.second: Tensor
        self.register_buffer("second", signs)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``[b, ...]`` to outputs ``[b, k]``."""
        return torch.relu(self.first(x.flatten(1))) @ self.second.T / math.sqrt(self.second.shape[1])
