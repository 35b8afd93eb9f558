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

from attribution_core.methods.curvature.losses import (
    Loss,
    hessian_column_norms,
    hessian_columns,
    means_of,
    prediction_errors,
)

Curvature = Literal["ggn", "hessian", "fisher", "empirical"]


def num_columns(outputs: Tensor, curvature: Curvature) -> int:
    """Columns of M of all examples together, n q."""
    return outputs.numel() if curvature == "ggn" else len(outputs)


def curvature_columns(
    outputs: Tensor, targets: Tensor | None, loss: Loss, curvature: Curvature, draws: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Columns m of M, or some that stand for all of them: ``sum m m^T`` is that of all, exactly or on average.

    No M is formed, which for a vocabulary or an image as output would not fit. Drawn columns have a chance in
    proportion to ``|m|^2`` and the same length.

    Args:
        outputs: f, ``[n, k]``.
        targets: ``[n]`` or ``[n, k]``; of use for ``"empirical"`` only.
        loss: Whose curvature it is.
        curvature: Its form, not the Hessian.
        draws: How many are drawn; no more than that are all taken as they are.
        seed: Of the labels drawn for ``"fisher"``.

    Returns:
        Which example each belongs to, ``[columns]`` on the CPU, and the columns ``[columns, k]``.
    """
    errors = None if curvature == "ggn" else _only_columns(outputs, targets, loss, curvature, seed)
    norms = hessian_column_norms(outputs, loss) if errors is None else errors.square().sum(dim=1, keepdim=True)
    n, q = norms.shape
    every = n * q <= draws
    which, column = (torch.arange(n).repeat_interleave(q), torch.arange(q).repeat(n)) if every else _drawn(norms, draws)
    here = which.to(outputs.device)
    columns = hessian_columns(outputs[here], column.to(here.device), loss) if errors is None else errors[here]
    if every:
        return which, columns
    length = (norms.double().sum() / len(which)).sqrt().to(columns)
    return which, columns * (length / columns.norm(dim=1, keepdim=True).clamp(min=torch.finfo(columns.dtype).tiny))


def _only_columns(outputs: Tensor, targets: Tensor | None, loss: Loss, curvature: Curvature, seed: int) -> Tensor:
    """M where it has one column, ``[n, k]``."""
    if curvature == "fisher":
        return sampled_errors(outputs, loss, seed)
    if curvature == "empirical" and targets is not None:
        return prediction_errors(outputs, targets, loss)
    raise ValueError(f"{curvature} has no columns.")


def _drawn(norms: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Rows and columns ``[draws]`` of ``norms`` ``[n, q]``, drawn in proportion to it, on the CPU."""
    norms = norms.double().cpu()
    if float(norms.sum()) == 0:  # every prediction is sure, to rounding
        return torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(norms.sum(dim=1), draws, replacement=True, generator=generator)
    return which, torch.multinomial(norms[which], 1, generator=generator)[:, 0]


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
