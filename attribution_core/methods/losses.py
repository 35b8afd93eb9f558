"""Derivatives of the losses in a model's outputs."""

from typing import Literal

import torch
from torch import Tensor

from attribution_core.training import as_outputs

Loss = Literal["cross_entropy", "mse"]


def hessian_root(outputs: Tensor, loss: Loss) -> Tensor:
    """M with ``M M^T`` the Hessian of the loss in the outputs: ``[b, k]`` -> ``[b, k, k]``.

    Of softmax, ``diag(p) - p p^T``, with ``M = diag(sqrt p) - p sqrt(p)^T``; of the sigmoid (one output) ``p (1 - p)``;
    of half the squared error the identity.
    """
    if loss == "mse":
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(len(outputs), -1, -1)
    if outputs.shape[1] == 1:
        p = outputs.sigmoid()
        return (p * (1 - p)).sqrt()[:, :, None]
    p = outputs.softmax(dim=1)
    return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


def output_hessian(outputs: Tensor, loss: Loss) -> Tensor:
    """Lambda, the Hessian of the loss in the outputs: ``[b, k]`` -> ``[b, k, k]``."""
    root = hessian_root(outputs, loss)
    return root @ root.transpose(1, 2)


def means_of(outputs: Tensor, loss: Loss) -> Tensor:
    """What the outputs predict: probabilities by softmax (sigmoid for one output), or for ``"mse"`` themselves."""
    if loss == "mse":
        return outputs
    return outputs.sigmoid() if outputs.shape[1] == 1 else outputs.softmax(dim=1)


def prediction_errors(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """``e = sigma(f) - y`` of each example, the gradient of its loss in its outputs: ``[b, k]``."""
    return means_of(outputs, loss) - as_outputs(targets, outputs.shape[1]).to(outputs)
