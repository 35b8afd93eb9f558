"""Slow and obviously right: what the fast methods are compared with."""

import math

import torch
from torch import Tensor, nn

from attribution_core.methods.linearized.schedule import GradientDescent


def trained_weights(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent, examples: int) -> Tensor:
    """``w_t - w_0`` by a fresh eigendecomposition: ``[n, k, p]`` Jacobian, ``[n, k]`` residuals -> ``[p]``."""
    rows, targets = jacobian.flatten(0, 1), residuals.flatten()
    if schedule.is_interpolation:
        return torch.linalg.pinv(rows, rtol=1e-10) @ targets
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    x = values.clamp(min=0) + schedule.weight_decay
    eta = schedule.learning_rate / examples if schedule.loss == "mean" else schedule.learning_rate
    safe = torch.where(x > 0, x, 1.0)
    if math.isinf(schedule.steps):
        g = 1 / safe
    elif schedule.dynamics == "continuous":
        g = torch.where(x > 0, -torch.expm1(-eta * schedule.steps * x) / safe, eta * schedule.steps)
    else:
        small = -torch.expm1(schedule.steps * torch.log1p(-(eta * x).clamp(max=0.9)))
        reached = torch.where(eta * x < 0.9, small, 1 - (1 - eta * x) ** schedule.steps)
        g = torch.where(x > 0, reached / safe, eta * schedule.steps)
    return vectors @ (g * (vectors.T @ (rows.T @ targets)))


def weight_changes(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent) -> Tensor:
    """``w - w_{-i}`` by training again without each example: ``[n, p]``."""
    n = len(jacobian)
    full = trained_weights(jacobian, residuals, schedule, n)
    changes = [full - trained_without(jacobian, residuals, schedule, [i]) for i in range(n)]
    return torch.stack(changes)


def trained_without(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent, removed: list[int]) -> Tensor:
    """``w_{-G} - w_0``: ``[p]``."""
    kept = [i for i in range(len(jacobian)) if i not in removed]
    return trained_weights(jacobian[kept], residuals[kept], schedule, len(kept))


def full_jacobian(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """``d f_c(x_b) / d w``, one backward pass for each example and output: parameter name -> ``[n, k, numel]``."""
    names = [name for name, _ in model.named_parameters()]
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    outputs = model(inputs)
    for value in outputs.flatten():
        for name, gradient in zip(
            names, torch.autograd.grad(value, model.parameters(), retain_graph=True), strict=True
        ):
            rows[name].append(gradient.flatten())
    return {name: torch.stack(parts).reshape(*outputs.shape, -1) for name, parts in rows.items()}


def kernel_predictions(
    kernel: Tensor, cross: Tensor, residuals: Tensor, schedule: GradientDescent, kept: list[int]
) -> Tensor:
    """``f_t - f_0`` of continuous training on the kept examples, from the kernels (eq. 11, one output): ``[m]``."""
    values, vectors = torch.linalg.eigh(kernel[kept][:, kept])
    x = values.clamp(min=0) + schedule.weight_decay
    eta = schedule.learning_rate / len(kept) if schedule.loss == "mean" else schedule.learning_rate
    g = torch.where(x > 0, -torch.expm1(-eta * schedule.steps * x) / torch.where(x > 0, x, 1.0), eta * schedule.steps)
    return cross[:, kept] @ (vectors @ (g * (vectors.T @ residuals[kept, 0])))
