"""Derivatives of the losses with respect to a model's outputs."""

from typing import Literal

import torch
from torch import Tensor, nn

from attribution_core.methods.types import InputsAndTargets
from attribution_core.training import as_outputs, outputs_of

Loss = Literal["cross_entropy", "binary_cross_entropy", "mse"]


def hessian_root(outputs: Tensor, loss: Loss) -> Tensor:
    """Return M such that ``M M^T`` is the Hessian of the loss in the outputs: ``[b, k]`` -> ``[b, k, k]``.

    For softmax the Hessian is ``diag(p) - p p^T`` and ``M = diag(sqrt p) - p sqrt(p)^T``; for sigmoids (one output, or
    binary cross-entropy) it is ``diag(p (1 - p))`` and M its root; for half the squared error it is the identity.
    """
    if loss == "mse":
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(len(outputs), -1, -1)
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return (p * (1 - p)).sqrt().diag_embed()
    return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


def hessian_columns(outputs: Tensor, columns: Tensor, loss: Loss) -> Tensor:
    """Return one column of :func:`hessian_root` per example without forming the others: ``[b]`` -> ``[b, k]``."""
    chosen = torch.zeros_like(outputs).scatter(1, columns[:, None], 1.0)
    if loss == "mse":
        return chosen
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return (p * (1 - p)).sqrt() * chosen
    return p.gather(1, columns[:, None]).sqrt() * (chosen - p)


def hessian_column_norms(outputs: Tensor, loss: Loss) -> Tensor:
    """Return the squared lengths of the columns of :func:`hessian_root`, ``[b, k]``."""
    if loss == "mse":
        return torch.ones_like(outputs)
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return p * (1 - p)
    return p * (1 - 2 * p + p.square().sum(dim=1, keepdim=True)).clamp(min=0)  # rounding may pass zero


def hessian_product(outputs: Tensor, vectors: Tensor, loss: Loss) -> Tensor:
    """Return ``Lambda u`` for vectors u ``[b, k]`` without forming Lambda, the Hessian of the loss in the outputs."""
    if loss == "mse":
        return vectors
    p = means_of(outputs, loss)
    if _has_sigmoids(outputs, loss):
        return p * (1 - p) * vectors
    return p * (vectors - (p * vectors).sum(dim=1, keepdim=True))


def link_derivatives(outputs: Tensor, loss: Loss) -> Tensor:
    """Return ``sigma'(f)``, the derivative of each mean in its own output, ``[b, k]``: the diagonal of Lambda."""
    if loss == "mse":
        return torch.ones_like(outputs)
    p = means_of(outputs, loss)
    return p * (1 - p)


def means_of(outputs: Tensor, loss: Loss) -> Tensor:
    """Return the predicted means, ``[b, k]``: probabilities by softmax or sigmoids; for ``"mse"``, the outputs."""
    if loss == "mse":
        return outputs
    return outputs.sigmoid() if _has_sigmoids(outputs, loss) else outputs.softmax(dim=1)


def prediction_errors(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return ``e = sigma(f) - y``, the gradient of each example's loss in its outputs, ``[b, k]``."""
    return means_of(outputs, loss) - as_outputs(targets, outputs.shape[1]).to(outputs)


def errors_of(model: nn.Module, examples: InputsAndTargets, loss: Loss) -> Tensor:
    """Return a model's prediction errors, ``[n, k]``: to first order, each example's loss as a mixture of its outputs.

    Args:
        model: The model, used in evaluation mode.
        examples: Inputs and targets.
        loss: Loss whose errors they are.
    """
    return prediction_errors(outputs_of(model, examples[0]), examples[1], loss)


def expected_errors(outputs: Tensor, variance: Tensor, targets: Tensor, loss: Loss, samples: int) -> Tensor:
    """Estimate ``E[sigma(g) - y]`` over outputs ``g ~ N(f, v)`` by Monte Carlo, ``[b, k]``.

    Args:
        outputs: f, ``[b, k]``.
        variance: v, ``[b, k, k]``.
        targets: Targets ``[b]`` or ``[b, k]``.
        loss: Loss whose error it is; for half the squared error the expectation is the error at f.
        samples: Number of draws, the same for all examples; each is used with its mirror image about f.
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
    """Return whether each output has its own probability, which makes the Hessian diagonal."""
    return loss == "binary_cross_entropy" or outputs.shape[1] == 1
