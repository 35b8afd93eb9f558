r"""Curvatures of a mean loss, factored through the outputs' Jacobians.

All but the Hessian have the form ``C = (1/n) sum_i J_i^T M_i M_i^T J_i``, with the Jacobian ``J_i`` ``[k, p]`` of
example i's outputs and a root ``M_i`` ``[k, q]``:

- **ggn**, generalized Gauss-Newton: ``M M^T`` is the Hessian of the loss in the outputs, q = k. For softmax, sigmoid
  and squared error this is the Fisher information;
- **fisher**: ``M = sigma(f) - y'`` for a label y' drawn from the model, q = 1; it equals ggn on average over draws;
- **empirical**: ``M = sigma(f) - y`` for the given label, q = 1: the second moment of the training gradients.

- **hessian**: the Hessian of the mean loss itself, which also contains the second derivatives of the network. It may
  have negative eigenvalues.
"""

from typing import Literal

import torch
from torch import Tensor

from attribution_core.methods.curvature.losses import (
    Loss,
    hessian_column_norms,
    hessian_columns,
    means_of,
    prediction_errors,
)

Curvature = Literal["ggn", "hessian", "fisher", "empirical"]


def num_columns(outputs: Tensor, curvature: Curvature) -> int:
    """Return the number of columns of M for all examples together, n q."""
    return outputs.numel() if curvature == "ggn" else len(outputs)


def curvature_columns(
    outputs: Tensor, targets: Tensor | None, loss: Loss, curvature: Curvature, draws: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the columns m of M, or a sample of them for which ``sum m m^T`` has the same expectation.

    No M is formed, since for a vocabulary or an image as output it would not fit into memory. Columns are drawn with
    probability proportional to ``|m|^2`` and scaled to the same length.

    Args:
        outputs: f, ``[n, k]``.
        targets: Targets ``[n]`` or ``[n, k]``; only ``"empirical"`` uses them.
        loss: Loss whose curvature it is.
        curvature: Form of the curvature, other than the Hessian.
        draws: Number of columns to draw; if there are no more than this, all are used.
        seed: Seed of the labels drawn for ``"fisher"``.

    Returns:
        Index of the example that each column belongs to, ``[columns]`` on the CPU, and the columns ``[columns, k]``.
    """
    errors = None if curvature == "ggn" else _single_columns(outputs, targets, loss, curvature, seed)
    norms = hessian_column_norms(outputs, loss) if errors is None else errors.square().sum(dim=1, keepdim=True)
    n, q = norms.shape
    uses_all = n * q <= draws
    which, column = (
        (torch.arange(n).repeat_interleave(q), torch.arange(q).repeat(n)) if uses_all else _drawn(norms, draws)
    )
    here = which.to(outputs.device)
    columns = hessian_columns(outputs[here], column.to(here.device), loss) if errors is None else errors[here]
    if uses_all:
        return which, columns
    length = (norms.double().sum() / len(which)).sqrt().to(columns)
    return which, columns * (length / columns.norm(dim=1, keepdim=True).clamp(min=torch.finfo(columns.dtype).tiny))


def _single_columns(outputs: Tensor, targets: Tensor | None, loss: Loss, curvature: Curvature, seed: int) -> Tensor:
    """Return M for curvatures with one column, ``[n, k]``."""
    if curvature == "fisher":
        return sampled_errors(outputs, loss, seed)
    if curvature == "empirical" and targets is not None:
        return prediction_errors(outputs, targets, loss)
    raise ValueError(f"{curvature} has no columns.")


def _drawn(norms: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Return row and column indices ``[draws]``, drawn in proportion to ``norms`` ``[n, q]``, on the CPU."""
    norms = norms.double().cpu()
    if float(norms.sum()) == 0:  # every prediction is certain up to rounding
        return torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(norms.sum(dim=1), draws, replacement=True, generator=generator)
    return which, torch.multinomial(norms[which], 1, generator=generator)[:, 0]


def sampled_errors(outputs: Tensor, loss: Loss, seed: int) -> Tensor:
    """Return ``sigma(f) - y'`` for targets y' drawn from the model's predictions, ``[n, k]``.

    Targets are classes (softmax), 0 or 1 (sigmoid of each output), or normal with unit variance (squared error).
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
