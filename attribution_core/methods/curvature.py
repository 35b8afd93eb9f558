r"""Curvatures of a mean loss, as factors of the outputs' Jacobians.

All but the Hessian have the form ``C = (1/n) sum_i J_i^T M_i M_i^T J_i``, with the Jacobian ``J_i`` ``[k, p]`` of
example i's outputs and a root ``M_i`` ``[k, q]``:

- **ggn**, generalised Gauss-Newton: ``M M^T`` is the Hessian of the loss in the outputs, q = k. For softmax, sigmoid
  and squared error this is the Fisher information;
- **fisher**: ``M = sigma(f) - y'`` for a label y' drawn from the model, q = 1: the same on average over draws;
- **empirical**: ``M = sigma(f) - y``, the label's own, q = 1: the second moment of the training gradients.

- **hessian**: of the mean loss itself, which also holds the second derivatives of the network. It need not be positive.
"""

from typing import Literal

import torch
from torch import Tensor

from attribution_core.methods.losses import Loss, hessian_root, means_of, prediction_errors

Curvature = Literal["ggn", "hessian", "fisher", "empirical"]


def curvature_root(outputs: Tensor, targets: Tensor, loss: Loss, curvature: Curvature, seed: int = 0) -> Tensor:
    """M of each example: outputs ``[n, k]`` -> ``[n, k, q]``; not for the Hessian.

    Args:
        outputs: f.
        targets: ``[n]`` or ``[n, k]``.
        loss: Whose curvature it is.
        curvature: Its form.
        seed: Of the labels drawn for ``"fisher"``.
    """
    if curvature == "ggn":
        return hessian_root(outputs, loss)
    if curvature == "fisher":
        return sampled_errors(outputs, loss, seed)[:, :, None]
    if curvature == "empirical":
        return prediction_errors(outputs, targets, loss)[:, :, None]
    raise ValueError("The Hessian is not a sum over outputs' Jacobians.")


def sampled_errors(outputs: Tensor, loss: Loss, seed: int) -> Tensor:
    """``sigma(f) - y'`` for targets y' drawn from what the outputs predict, ``[n, k]``.

    Classes by softmax, 0 or 1 by the sigmoid of each output, or normal with unit variance for squared errors.
    """
    generator = torch.Generator().manual_seed(seed)
    if loss == "mse":
        return torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype).to(outputs.device)
    means = means_of(outputs, loss)
    chances = means.cpu()
    if loss == "cross_entropy" and outputs.shape[1] > 1:
        drawn = torch.multinomial(chances, 1, generator=generator)
        return means - torch.zeros_like(means).scatter(1, drawn.to(means.device), 1.0)
    return means - torch.bernoulli(chances, generator=generator).to(means.device)
