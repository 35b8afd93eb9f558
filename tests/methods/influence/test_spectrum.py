"""Influence outside the directions that are decomposed, where the curvature vanishes and the gradient does not."""

import math

import pytest
import torch
from torch import Tensor, nn

from attribution_core.gradients import (
    ParameterPlan,
    gradient_norms,
    gradient_products,
    jacobian,
    kronecker_plan,
    plan_parameters,
)
from attribution_core.methods.curvature.columns import curvature_columns
from attribution_core.methods.curvature.losses import errors_of, hessian_column_norms
from attribution_core.methods.influence.functions import influence_functions, self_influence
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.methods.influence.spectrum import influence_spectrum
from attribution_core.models import build_model
from tests.cases import ModelCase, model_cases


def confidently_wrong(dtype: torch.dtype) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Logistic regression with n = 20 where example 0 alone has feature 0, and its label has probability 2e-9."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 60, generator=generator, dtype=torch.float64)
    inputs[:, 0] = 0.0
    inputs[0] = torch.eye(60, dtype=torch.float64)[0]
    model = nn.Linear(60, 1, bias=False).double()
    model.weight.data = 0.1 * torch.randn(1, 60, generator=generator, dtype=torch.float64)
    model.weight.data[0, 0] = math.log(2e-9)
    targets = torch.randint(2, (20,), generator=generator)
    targets[0] = 1
    return model.to(dtype), (inputs.to(dtype), targets)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("solver", ["exact", "cg", "sketch", "small sketch", "ekfac"])
def test_a_confidently_wrong_label_counts_with_one_over_the_damping(solver, dtype):
    """Its gradient is 1 in a direction without curvature: the effect on itself is 1 / (20 * 1e-3) = 50."""
    model, train = confidently_wrong(dtype)
    options = InfluenceOptions(
        solver=solver.split()[-1],
        damping=1e-3,
        iterations=500,
        tolerance=1e-6,
        dimension=8 if "small" in solver else 99,
    )
    assert float(self_influence(model, train, options).effect[0]) == pytest.approx(50.0, rel=1e-4)
    twin = train[0][:1], train[1][:1]
    assert float(influence_functions(model, train, twin, options).effect[0, 0]) == pytest.approx(50.0, rel=1e-4)


def saturated(dtype: torch.dtype, n: int = 24) -> ModelCase:
    """A network with outputs far from zero, where labels at random are mostly confidently wrong."""
    generator = torch.Generator().manual_seed(0)
    inputs, others = torch.randn(2, n, 12, generator=generator, dtype=torch.float64)
    targets, labels = torch.randint(3, (2, n), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("mlp", 3, (12,), hidden=[40]).double()
    model.get_parameter([name for name, _ in model.named_parameters()][-2]).data *= 20
    return ModelCase("saturated", model.to(dtype), (inputs.to(dtype), targets), (others.to(dtype), labels))


@pytest.mark.parametrize("damping", [1.0, 0.1])
def test_a_sketch_is_within_two_percent_of_conjugate_gradients(damping):
    """The sketch has 72 rows in float32 and counted as little as a fifth of the self-influence of wrong labels."""
    case, fast = saturated(torch.float64), saturated(torch.float32)
    options = InfluenceOptions(solver="cg", damping=damping, iterations=4000, tolerance=1e-4)
    expected = self_influence(case.model, case.train, options).effect
    found = self_influence(fast.model, fast.train, damping=damping).effect.double()
    large = expected > 1e-3 * expected.max()
    assert float((found / expected - 1)[large].abs().max()) < 0.02
    pairs = influence_functions(case.model, case.train, case.evaluation, options).effect
    sketched = influence_functions(fast.model, fast.train, fast.evaluation, damping=damping).effect
    assert float((sketched.double() - pairs).norm() / pairs.norm()) < 0.02


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical"])
def test_what_a_small_sketch_leaves_outside_counts_with_the_curvature_along_itself(curvature):
    case, damping, n = saturated(torch.float64), 0.1, 24
    found = influence_functions(
        case.model, case.train, case.evaluation, curvature=curvature, damping=damping, dimension=20
    )
    own = self_influence(case.model, case.train, curvature=curvature, damping=damping, dimension=20)
    whole = plan_parameters(case.model, case.train[0])
    outputs = case.model(case.train[0]).detach()
    which, mixture = curvature_columns(outputs, case.train[1], "cross_entropy", curvature, 10_000)
    sketch = kronecker_plan(case.model, case.train[0][which], whole, 20, 0, mixture)
    rows = jacobian(case.model, case.train[0][which], sketch, mixture)[1][:, 0]
    inverse = torch.linalg.inv(rows.T @ rows / n + damping * torch.eye(20, dtype=torch.float64))

    def gradients(side: tuple[Tensor, Tensor], plan: ParameterPlan) -> Tensor:
        return jacobian(case.model, side[0], plan, errors_of(case.model, side, "cross_entropy"))[1][:, 0]

    g, h = (gradients(side, whole) for side in (case.train, case.evaluation))
    s, t = (gradients(side, sketch) for side in (case.train, case.evaluation))
    whole_rows = jacobian(case.model, case.train[0][which], whole, mixture)[1][:, 0]

    def damped(inside: Tensor, gradient: Tensor) -> Tensor:
        outside = gradient.square().sum(dim=1) - inside.square().sum(dim=1)
        return (gradient @ whole_rows.T - inside @ rows.T).square().sum(dim=1) / n / outside + damping

    scale = (damped(s, g)[:, None] * damped(t, h)).sqrt()
    torch.testing.assert_close(found.effect, (s @ inverse @ t.T + (g @ h.T - s @ t.T) / scale) / n)
    outside = (g.square().sum(dim=1) - s.square().sum(dim=1)) / damped(s, g)
    torch.testing.assert_close(own.effect, ((s @ inverse * s).sum(dim=1) + outside) / n)
    assert own.kept_energy == pytest.approx(float(s.square().sum() / g.square().sum()))


@pytest.mark.parametrize(("dimension", "typical", "most"), [(100, 1.3, 1.7), (300, 1.05, 1.3), (400, 1.02, 1.1)])
def test_a_small_sketch_neither_loses_nor_overstates_self_influence(dimension, typical, most):
    """With 1 / damping outside it, 100 of 643 directions overstated a twentieth of the examples 3.5 times and more."""
    case = saturated(torch.float64, 300)
    found = self_influence(case.model, case.train, dimension=dimension)
    exact = self_influence(case.model, case.train, solver="exact", damping=found.damping[0]).effect
    large = exact > 1e-3 * exact.max()
    factor = (found.effect / exact)[large]
    assert 1 / typical < float(factor.median()) < typical
    low, high = torch.quantile(factor, torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
    assert 1 / most < low
    assert high < most


@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_gradient_products_equal_those_of_formed_gradients(case):
    plan = plan_parameters(case.model, case.train[0])
    sides = [
        (inputs, errors_of(case.model, (inputs, y), "cross_entropy")) for inputs, y in (case.train, case.evaluation)
    ]
    left, right = (jacobian(case.model, inputs, plan, mixture)[1][:, 0] for inputs, mixture in sides)
    torch.testing.assert_close(gradient_products(case.model, *sides, plan), left @ right.T)
    torch.testing.assert_close(gradient_norms(case.model, sides[0], plan), left.square().sum(dim=1))


def test_only_what_has_every_direction_counts_nothing_as_flat():
    case = saturated(torch.float32)
    assert influence_spectrum(case.model, case.train, None, "cross_entropy").flat_below == 1e-6
    few = case.train[0].repeat(10, 1), case.train[1].repeat(10)
    assert influence_spectrum(case.model, few, None, "cross_entropy").flat_below == 0.0


def test_certain_predictions_can_be_drawn_from():
    """In float32, 1 - 2 p + sum p^2 rounds to less than zero for p close to 1."""
    outputs = torch.tensor([[0.0, gap, 0.0] for gap in torch.linspace(8.0, 20.0, 400)])
    assert float(hessian_column_norms(outputs, "cross_entropy").min()) >= 0
    curvature_columns(outputs, None, "cross_entropy", "ggn", 10)
