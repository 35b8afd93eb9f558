"""Slow and obviously right computations that the fast methods are compared with."""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev

from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.training import loss_values


def trained_weights(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent, total: int) -> Tensor:
    """Return ``w_t - w_0``, ``[p]``, by minimizing or integrating the objective of the given examples.

    The objective is ``sum_i |Phi_i w - r_i|^2 / 2 + decay / 2 |w|^2``, or its mean with the trainer's own decay. No
    eigendecomposition is involved: time is a power or an exponential of one step, ``w -> w + rate (c - H w)``.

    Args:
        jacobian: Jacobians of the examples that are present, ``[n, k, p]``.
        residuals: Their residuals, ``[n, k]``.
        schedule: How to train.
        total: Number of examples before any were removed.
    """
    rows, targets = jacobian.flatten(0, 1), residuals.flatten()
    if schedule.is_interpolation:
        return torch.linalg.pinv(rows, rtol=1e-10) @ targets
    hessian, start, decay = rows.T @ rows, rows.T @ targets, schedule.weight_decay
    if schedule.loss == "mean":
        hessian, start = hessian / len(jacobian), start / len(jacobian)
        decay /= len(jacobian) if schedule.decay_after_removal == "fixed" else total
    p = len(hessian)
    hessian += decay * torch.eye(p, dtype=hessian.dtype)
    if math.isinf(schedule.steps):
        return torch.linalg.solve(hessian, start)
    step = torch.zeros(p + 1, p + 1, dtype=hessian.dtype)  # of (w, 1)
    step[:p, :p], step[:p, p] = -schedule.learning_rate * hessian, schedule.learning_rate * start
    if schedule.dynamics == "continuous":
        return torch.linalg.matrix_exp(schedule.steps * step)[:p, p]
    return torch.linalg.matrix_power(step + torch.eye(p + 1, dtype=step.dtype), int(schedule.steps))[:p, p]


def weight_changes(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent) -> Tensor:
    """Return ``w - w_{-i}``, ``[n, p]``, by training again without each example."""
    n = len(jacobian)
    full = trained_weights(jacobian, residuals, schedule, n)
    changes = [full - trained_without(jacobian, residuals, schedule, [i]) for i in range(n)]
    return torch.stack(changes)


def trained_without(jacobian: Tensor, residuals: Tensor, schedule: GradientDescent, removed: list[int]) -> Tensor:
    """Return ``w_{-G} - w_0``, ``[p]``, of a group G of removed examples."""
    kept = [i for i in range(len(jacobian)) if i not in removed]
    return trained_weights(jacobian[kept], residuals[kept], schedule, len(jacobian))


def full_jacobian(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return ``d f_c(x_b) / d w``, ``[n, k, numel]`` by parameter, from one backward pass per example and output."""
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
    """Return ``f_t - f_0``, ``[m]``, of continuous training on the kept examples, from kernels (eq. 11, one output)."""
    values, vectors = torch.linalg.eigh(kernel[kept][:, kept])
    x = values.clamp(min=0) + schedule.weight_decay
    eta = schedule.learning_rate / len(kept) if schedule.loss == "mean" else schedule.learning_rate
    g = torch.where(x > 0, -torch.expm1(-eta * schedule.steps * x) / torch.where(x > 0, x, 1.0), eta * schedule.steps)
    return cross[:, kept] @ (vectors @ (g * (vectors.T @ residuals[kept, 0])))


def jacobians_and_curvatures(model: nn.Module, inputs: Tensor, loss: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return, for each example, the whole Jacobian ``[k, p]`` and autograd's Hessian of the loss in the outputs."""
    model(inputs)  # so that lazy layers know their sizes
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    targets, rows, curvatures = torch.zeros(1, dtype=torch.long), [], []
    for x in inputs:
        each = jacrev(lambda weights, x=x: functional_call(model, weights, (x[None],))[0])(parameters)
        rows.append(torch.cat([value.flatten(1) for value in each.values()], dim=1))
        with torch.no_grad():
            outputs = model(x[None])[0]
        curvatures.append(hessian(lambda f: loss_values(f[None], targets, loss)[0])(outputs))
    return rows, curvatures
