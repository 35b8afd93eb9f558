"""Derivatives of the losses in a model's outputs."""

from typing import Literal

import torch
from torch import Tensor, nn

from attribution_core.training import as_outputs, outputs_of

Loss = Literal["cross_entropy", "binary_cross_entropy", "mse"]


def hessian_root(outputs: Tensor, loss: Loss) -> Tensor:
    """M with ``M M^T`` the Hessian of the loss in the outputs: ``[b, k]`` -> ``[b, k, k]``.

    Of softmax, ``diag(p) - p p^T``, with ``M = diag(sqrt p) - p sqrt(p)^T``; of sigmoids (one output, or binary
    cross-entropy) ``diag(p (1 - p))``, with its root; of half the squared error the identity.
    """
    if loss == "mse":
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(len(outputs), -1, -1)
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return (p * (1 - p)).sqrt().diag_embed()
    return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


def hessian_columns(outputs: Tensor, columns: Tensor, loss: Loss) -> Tensor:
    """One column of :func:`hessian_root` for each example, the others not formed: columns ``[b]`` -> ``[b, k]``."""
    chosen = torch.zeros_like(outputs).scatter(1, columns[:, None], 1.0)
    if loss == "mse":
        return chosen
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return (p * (1 - p)).sqrt() * chosen
    return p.gather(1, columns[:, None]).sqrt() * (chosen - p)


def hessian_column_norms(outputs: Tensor, loss: Loss) -> Tensor:
    """Squared lengths of the columns of :func:`hessian_root`, ``[b, k]``."""
    if loss == "mse":
        return torch.ones_like(outputs)
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return p * (1 - p)
    return p * (1 - 2 * p + p.square().sum(dim=1, keepdim=True))


def hessian_product(outputs: Tensor, vectors: Tensor, loss: Loss) -> Tensor:
    """``Lambda u`` for vectors u ``[b, k]``, with Lambda, the Hessian of the loss in the outputs, not formed."""
    if loss == "mse":
        return vectors
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return p * (1 - p) * vectors
    return p * (vectors - (p * vectors).sum(dim=1, keepdim=True))


def means_of(outputs: Tensor, loss: Loss) -> Tensor:
    """What the outputs predict, ``[b, k]``: probabilities by softmax or sigmoids, or for ``"mse"`` themselves."""
    if loss == "mse":
        return outputs
    return outputs.sigmoid() if _has_sigmoids(outputs, loss) else outputs.softmax(dim=1)


def prediction_errors(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """``e = sigma(f) - y`` of each example, the gradient of its loss in its outputs: ``[b, k]``."""
    return means_of(outputs, loss) - as_outputs(targets, outputs.shape[1]).to(outputs)


def errors_of(model: nn.Module, side: tuple[Tensor, Tensor], loss: Loss) -> Tensor:
    """Prediction errors of a model, ``[n, k]``: to first order, each example's loss as a mixture of its outputs.

    Args:
        model: Used in evaluation mode.
        side: Inputs and targets.
        loss: Whose errors they are.
    """
    return prediction_errors(outputs_of(model, side[0]), side[1], loss)


def expected_errors(outputs: Tensor, variance: Tensor, targets: Tensor, loss: Loss, samples: int) -> Tensor:
    """``E[sigma(g) - y]`` over outputs ``g ~ N(f, v)``, by Monte Carlo: ``[b, k]``.

    Args:
        outputs: f, ``[b, k]``.
        variance: v, ``[b, k, k]``.
        targets: ``[b]`` or ``[b, k]``.
        loss: Whose error it is; for half the squared error the expectation is the error at f.
        samples: How many draws, the same for all examples; each is used with its mirror image about f.
    """
    if loss == "mse":
        return prediction_errors(outputs, targets, loss)
    values, vectors = torch.linalg.eigh(variance)
    root = vectors * values.clamp(min=0).sqrt()[:, None]
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(outputs)
    pairs = max(1, samples // 2)
    for _ in range(pairs):
        step = root @ torch.randn(outputs.shape[1], generator=generator, dtype=outputs.dtype).to(outputs.device)
        total += prediction_errors(outputs + step, targets, loss) + prediction_errors(outputs - step, targets, loss)
    return total / (2 * pairs)


def _has_sigmoids(outputs: Tensor, loss: Loss) -> bool:
    """Whether each output has a probability of its own, so that the Hessian is diagonal."""
    return loss == "binary_cross_entropy" or outputs.shape[1] == 1
