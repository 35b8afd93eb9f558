"""Influence functions against explicit inverses, on every case and for every solver."""

import pytest
import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import jacobian, plan_parameters
from attribution_core.methods.curvature import sampled_errors
from attribution_core.methods.influence_functions import SolverOptions, influence_functions, self_influence
from attribution_core.methods.losses import hessian_root, prediction_errors
from attribution_core.models import build_model
from attribution_core.training import loss_values
from tests.cases import ModelCase, model_cases

EXACT = SolverOptions(iterations=3000, tolerance=1e-9)


def explicit(case: ModelCase, loss: str, curvature: str, damping: float) -> tuple[Tensor, Tensor]:
    """Effects ``[n, m]`` and self-influence ``[n]`` from the p x p matrix and autograd's own gradients."""
    model, (inputs, targets) = case.model, case.train
    names = dict.fromkeys(name for name, _ in model.named_parameters())
    plan = plan_parameters(model, inputs)
    sides = []
    for x, y in (case.train, case.evaluation):
        rows = []
        for i in range(len(x)):
            model.zero_grad()
            loss_values(model(x[i : i + 1]), y[i : i + 1], loss).sum().backward()
            parts = dict(model.named_parameters())
            rows.append(torch.cat([parts[name].grad.flatten() for name in names]))
        sides.append(torch.stack(rows))
    model.zero_grad()
    n = len(inputs)
    outputs, rows = jacobian(model, inputs, plan)
    if curvature == "ggn":
        half = (hessian_root(outputs, loss).mT @ rows).flatten(0, 1)
    elif curvature == "fisher":
        half = (sampled_errors(outputs, loss, 0)[:, None] @ rows)[:, 0]
    elif curvature == "empirical":
        half = (prediction_errors(outputs, targets, loss)[:, None] @ rows)[:, 0]
    train, evaluation = sides
    if plan.width > 2000:  # Woodbury
        small = torch.linalg.inv(half @ half.T / n + damping * torch.eye(len(half), dtype=half.dtype))
        solved = (train - train @ half.T @ small @ half / n) / damping
    else:
        matrix = half.T @ half / n if curvature != "hessian" else explicit_hessian(model, case.train, loss)
        solved = train @ torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    return solved @ evaluation.T / n, (solved * train).sum(dim=1) / n


def explicit_hessian(model: nn.Module, side: tuple[Tensor, Tensor], loss: str) -> Tensor:
    parameters = list(model.parameters())
    mean = loss_values(model(side[0]), side[1], loss).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(mean, parameters, create_graph=True)])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in gradient]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical"])
@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_exact_equals_the_explicit_inverse(case, curvature):
    damping = 0.03
    expected, own = explicit(case, "cross_entropy", curvature, damping)
    found = influence_functions(case.model, case.train, case.evaluation, "cross_entropy", curvature, "exact", damping)
    assert close(found.effect, expected)
    assert found.damping == (damping,)
    assert found.converged
    found = self_influence(case.model, case.train, "cross_entropy", curvature, "exact", damping)
    assert close(found.effect, own)
