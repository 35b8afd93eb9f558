import pytest
import torch
from torch import nn

from attribution_core.gradients import jacobian, kronecker, kronecker_plan, plan_parameters
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from tests.cases import model_cases
from tests.support import reference

CASES = model_cases()


def planned(case, dimension, **options):
    return kronecker_plan(case.model, case.train[0], plan_parameters(case.model, case.train[0]), dimension, **options)


def rows_by_definition(case, inputs, plan):
    """``left^T G right`` of gradients computed one backward pass at a time."""
    shapes = {name: value.shape for name, value in case.model.named_parameters()}
    blocks = []
    for name, gradients in reference.full_jacobian(case.model, inputs).items():
        chosen, rows = plan.coordinates[name], shapes[name][0]
        matrices = gradients.reshape(*gradients.shape[:2], rows, -1)
        left = torch.eye(rows, dtype=torch.float64) if chosen.left is None else chosen.left
        right = torch.eye(matrices.shape[3], dtype=torch.float64) if chosen.right is None else chosen.right
        coordinates = torch.einsum("or,bkoi,is->bkrs", left, matrices, right).flatten(2)
        blocks.append(coordinates[:, :, chosen.indices])
    return torch.cat(blocks, dim=2)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dimension", [3, 40])
def test_rows_are_projected_gradients_of_both_sides(case, dimension):
    plan = planned(case, dimension)
    assert plan.width == min(dimension, sum(value.numel() for value in case.model.parameters()))
    for inputs, _ in (case.train, case.evaluation):
        expected = rows_by_definition(case, inputs, plan)
        assert torch.allclose(jacobian(case.model, inputs, plan)[1], expected, rtol=1e-9, atol=1e-10)
    for chosen in plan.coordinates.values():
        for side in (chosen.left, chosen.right):
            if side is not None:
                assert torch.allclose(side.T @ side, torch.eye(side.shape[1], dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_smallest_part_is_dropped_and_the_kernel_only_shrinks(case):
    plan = plan_parameters(case.model, case.train[0])
    whole = jacobian(case.model, case.train[0], plan)[1].flatten(0, 1)
    most = jacobian(case.model, case.train[0], planned(case, plan.width - 1))[1].flatten(0, 1)
    dropped = whole @ whole.T - most @ most.T
    trace = float(whole.square().sum())
    assert float(torch.linalg.eigvalsh(dropped)[0]) > -1e-9 * trace
    assert float(dropped.trace()) < 3 * trace / plan.width
    complete = planned(case, plan.width)
    assert complete.kept_energy == 1.0
    assert all(chosen.is_whole for chosen in complete.coordinates.values())


def test_kept_energy_is_the_share_of_the_trace_for_one_output():
    case = CASES[1]
    plan = planned(case, 12)
    sketched = jacobian(case.model, case.train[0], plan)[1]
    whole = jacobian(case.model, case.train[0], plan_parameters(case.model, case.train[0]))[1]
    assert plan.kept_energy == pytest.approx(float(sketched.square().sum() / whole.square().sum()), rel=1e-9)
    assert planned(case, 3).kept_energy < planned(case, 12).kept_energy < 1


def test_a_side_too_long_keeps_its_own_basis(monkeypatch):
    monkeypatch.setattr(kronecker, "LONGEST_SIDE", 5)
    for case in (CASES[2], CASES[-2], CASES[-1]):
        plan = planned(case, 20)
        assert all(side is None or len(side) <= 5 for c in plan.coordinates.values() for side in (c.left, c.right))
        expected = rows_by_definition(case, case.evaluation[0], plan)
        assert torch.allclose(jacobian(case.model, case.evaluation[0], plan)[1], expected, rtol=1e-9, atol=1e-10)


def test_it_is_seeded_and_leaves_the_model_as_it_was(monkeypatch):
    monkeypatch.setattr(kronecker, "FIT_EXAMPLES", 4)
    case = CASES[2]
    case.model.train()
    one, same, other = (planned(case, 8, seed=seed).kept_energy for seed in (1, 1, 2))
    assert one == same != other
    assert case.model.training
    case.model.eval()


def test_scores_approach_the_exact_ones():
    model = build_model("mlp", 3, (6,), hidden=[40], seed=1).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    data = inputs, inputs[:, :3].argmax(dim=1)
    schedule = GradientDescent(0.01, 100, loss="mean")
    exact = functional_sample_information(linearize(model, data, data), schedule)
    errors = []
    for dimension in (20, 80, 240, 10**6):
        linear = linearize(model, data, data, "kronecker", dimension)
        scores = functional_sample_information(linear, schedule)
        errors.append(float((scores - exact).abs().sum() / exact.sum()))
        assert 0.5 < linear.kept_energy <= 1.0
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.02
    assert errors[3] < 1e-8


def test_frozen_parameters_may_be_sketched():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).requires_grad_(False)
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    assert kronecker_plan(model, inputs, plan_parameters(model, inputs), 5).width == 5
