"""The proximal Bregman response compared with closed forms, autograd and the influence function."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from attribution_core.errors import InputError
from attribution_core.gradients import jacobian, plan_parameters
from attribution_core.methods.curvature.losses import hessian_root, prediction_errors
from attribution_core.methods.influence.functions import influence_weights
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.methods.influence.proximal_bregman import (
    proximal_bregman_response,
    proximal_response,
    train_without,
    two_stage_response,
)
from attribution_core.models import build_model
from attribution_core.training import Recipe, loss_values, train
from attribution_core.training.trainer import state_of
from tests.cases import ModelCase, model_cases

CASES = [case for case in model_cases() if case.name in ("linear", "mlp, two hidden layers", "mlp, one output", "text")]


def flat(state: dict[str, Tensor], model: nn.Module) -> Tensor:
    return torch.cat([state[name].flatten() for name, _ in model.named_parameters()])


def gauss_newton_step(case: ModelCase, group: list[int], damping: float, loss: str, without: bool = False) -> Tensor:
    """Explicit ``(C + damping I)^{-1} (1/n) sum_S g_i`` (eq. 46); ``without`` removes the group from C."""
    inputs, targets = case.train
    n = len(inputs)
    outputs, rows = jacobian(case.model, inputs, plan_parameters(case.model, inputs))
    half = hessian_root(outputs, loss).mT @ rows
    if without:
        half = half[[i for i in range(n) if i not in group]]
    half = half.flatten(0, 1)
    gradient = (prediction_errors(outputs, targets, loss)[:, None] @ rows)[group, 0].sum(dim=0) / n
    matrix = half.T @ half / n + damping * torch.eye(half.shape[1], dtype=half.dtype)
    return torch.linalg.solve(matrix, gradient)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("group", [[2], [0, 3, 5]])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_linearized_response_is_the_damped_gauss_newton_step(case, group, loss):
    before = state_of(case.model)
    found = proximal_bregman_response(case.model, case.train, group, 0.05, loss, linearized=True, iterations=500)
    moved = flat(found.weights, case.model) - flat(before, case.model)
    expected = gauss_newton_step(case, group, 0.05, loss)
    assert float((moved - expected).norm()) < 1e-6 * float(expected.norm())
    assert found.gradient_norm < 1e-7
    assert all(torch.equal(value, before[name]) for name, value in state_of(case.model).items())
    options = InfluenceOptions(tolerance=1e-9)
    (influence,), _ = influence_weights(case.model, case.train, [group], loss=loss, damping=0.05, options=options)
    step = flat(influence, case.model) - flat(before, case.model)
    assert float((step - expected).norm()) < 1e-6 * float(expected.norm())


def test_the_response_of_a_linear_model_under_squared_error_excludes_the_groups_curvature():
    """The Bregman term and the loss of a removed example add up to a linear term: an exact leave-one-out."""
    case = next(case for case in CASES if case.name == "linear")
    before = flat(state_of(case.model), case.model)
    for group in ([1], [0, 4]):
        found = proximal_bregman_response(case.model, case.train, group, 0.05, "mse", iterations=500)
        expected = gauss_newton_step(case, group, 0.05, "mse", without=True)
        assert float((flat(found.weights, case.model) - before - expected).norm()) < 1e-6 * float(expected.norm())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy"])
@pytest.mark.parametrize("kind", ["bregman", "proximal"])
def test_responses_are_minima_of_their_objectives(kind, loss):
    """The gradient of the objectives of eqs. 28 and 21, by autograd, vanishes at the response."""
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)).double().eval()  # otherwise minima are at kinks
    case = replace(CASES[1], model=smooth)
    inputs, targets = case.train
    if loss == "binary_cross_entropy":
        targets = torch.rand(len(inputs), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names = [name for name, _ in case.model.named_parameters()]
    start = {name: value.detach().clone() for name, value in case.model.named_parameters()}
    respond = proximal_bregman_response if kind == "bregman" else proximal_response
    found = respond(case.model, (inputs, targets), [1, 2], 1.0, loss, iterations=500)
    n, y = len(inputs), case.model(inputs).detach()
    free = {name: found.weights[name].clone().requires_grad_() for name in names}
    outputs = functional_call(case.model, free, (inputs,))
    fit = loss_values(outputs, targets, loss)
    if kind == "bregman":
        fit = fit - loss_values(y, targets, loss) - (prediction_errors(y, targets, loss) * (outputs - y)).sum(dim=1)
    held = sum((free[name] - start[name]).square().sum() for name in names)
    objective = fit.mean() - loss_values(outputs, targets, loss)[[1, 2]].sum() / n + 0.5 * held
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(objective, list(free.values()))])
    assert float(gradient.norm()) < 1e-7
    assert found.objective == pytest.approx(float(objective.detach()), abs=1e-9)
    assert found.gradient_norm < 1e-6


def test_influence_is_the_limit_of_the_response_for_large_damping():
    """With more damping the response approaches its linearization."""
    case = next(case for case in CASES if case.name == "mlp, two hidden layers")
    before = flat(state_of(case.model), case.model)
    errors = []
    for damping in (1.0, 10.0, 100.0):
        found = proximal_bregman_response(case.model, case.train, 0, damping, iterations=500)
        expected = gauss_newton_step(case, [0], damping, "cross_entropy")
        moved = flat(found.weights, case.model) - before
        errors.append(float((moved - expected).norm() / expected.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01
    with pytest.raises(InputError, match="falls without limit"):
        proximal_bregman_response(case.model, case.train, 0, 0.01, iterations=500)


@pytest.mark.parametrize("linearized", [False, True])
def test_sgd_and_adam_reach_the_same_minimum(linearized):
    case = next(case for case in CASES if case.name == "linear")
    before = flat(state_of(case.model), case.model)
    exact = proximal_bregman_response(case.model, case.train, 3, 0.3, linearized=linearized, iterations=500)
    goal = flat(exact.weights, case.model) - before
    for optimizer, rate in (("sgd", 0.5), ("adam", 0.003)):
        recipe = Recipe(optimizer=optimizer, learning_rate=rate, batch_size=9, epochs=400, weight_decay=0.5)
        found = proximal_bregman_response(case.model, case.train, 3, 0.3, linearized=linearized, recipe=recipe)
        assert float((flat(found.weights, case.model) - before - goal).norm()) < 0.02 * float(goal.norm())
        assert found.steps == 400


def test_retraining_keeps_the_batch_order_and_two_stages_cancel_common_changes():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(12, 4, generator=generator), torch.randint(3, (12,), generator=generator)
    recipe = Recipe(learning_rate=0.1, batch_size=4, epochs=3, weight_decay=0.0, schedule="constant")
    model = build_model("linear", 3, (4,))
    initial = state_of(model)
    train(model, data, recipe)
    start = state_of(model)
    cold = train_without(model, data, [], recipe, initial)
    assert all(torch.equal(cold[name], start[name]) for name in start)
    without = train_without(model, data, 5, recipe, start)
    everything = train_without(model, data, [], recipe, start)
    two = two_stage_response(model, data, 5, recipe)
    for name, value in start.items():
        assert torch.allclose(two[name] - value, without[name] - everything[name], atol=1e-7)
        assert torch.equal(model.state_dict()[name], value)
    assert not model.training


def test_invalid_removals_are_refused():
    case = CASES[0]
    for group, said in ((99, "not .99."), ([], "at least one"), ([1, 1], "different indices")):
        with pytest.raises(InputError, match=said):
            proximal_bregman_response(case.model, case.train, group, 0.1)
    with pytest.raises(InputError, match="damping must be 0 or more"):
        proximal_bregman_response(case.model, case.train, 0, -0.1)
    with pytest.raises(InputError, match='solver="cg" or "lissa"'):
        influence_weights(case.model, case.train, [[0]], solver="ekfac")
