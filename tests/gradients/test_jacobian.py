import importlib

import pytest
import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.gradients import jacobian, layer_kernels_apply, ntk, plan_parameters, select_parameters
from attribution_core.gradients.jacobian import BATCH_BYTES
from attribution_core.gradients.sketch import Coordinates
from attribution_core.models import build_model
from attribution_core.progress import listening
from tests.cases import model_cases
from tests.support import reference

CASES = model_cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_jacobian_equals_one_backward_pass_per_output(case):
    expected = reference.full_jacobian(case.model, case.train[0])
    outputs, whole = jacobian(case.model, case.train[0], plan_parameters(case.model, case.train[0]))
    assert torch.allclose(outputs, case.model(case.train[0]).detach(), rtol=1e-12, atol=1e-14)
    assert torch.allclose(whole, torch.cat(list(expected.values()), dim=2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_coordinates_are_scaled_columns_of_the_jacobian(case):
    expected = reference.full_jacobian(case.model, case.train[0])
    plan = plan_parameters(case.model, case.train[0], dimension=5, seed=3)
    _, sketched = jacobian(case.model, case.train[0], plan)
    columns = [
        full[:, :, plan.coordinates[name].indices] * (full.shape[2] / min(5, full.shape[2])) ** 0.5
        for name, full in expected.items()
    ]
    assert plan.width == sketched.shape[2] == sum(min(5, full.shape[2]) for full in expected.values())
    assert torch.allclose(sketched, torch.cat(columns, dim=2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_batch_size_changes_nothing(case, monkeypatch):
    plan = plan_parameters(case.model, case.train[0], dimension=40)
    whole = jacobian(case.model, case.train[0], plan)
    monkeypatch.setattr(importlib.import_module("attribution_core.gradients.jacobian"), "BATCH_BYTES", 1)
    steps = []
    with listening(lambda *step: steps.append(step)):
        split = jacobian(case.model, case.train[0], plan)
    assert [step[0] for step in steps] == list(range(1, len(case.train[0]) + 1))
    for one, other in zip(whole, split, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES[:-1], ids=str)
@pytest.mark.parametrize("parameters", ["all", "head", "bias", "weight"])
@pytest.mark.parametrize("block", [BATCH_BYTES, 1])
def test_kernels_equal_products_of_jacobians(case, parameters, block, monkeypatch):
    if parameters == "bias" and not any("bias" in name for name, _ in case.model.named_parameters()):
        return
    monkeypatch.setattr(ntk, "BATCH_BYTES", block)
    plan = plan_parameters(case.model, case.train[0], parameters)
    train = torch.cat([reference.full_jacobian(case.model, case.train[0])[name] for name in plan.coordinates], dim=2)
    other = torch.cat([reference.full_jacobian(case.model, case.evaluation[0])[n] for n in plan.coordinates], dim=2)
    train, other = train.flatten(0, 1), other.flatten(0, 1)
    kernel, cross, *_ = ntk.tangent_kernels(case.model, case.train[0], case.evaluation[0], plan)
    assert torch.allclose(kernel, train @ train.T, rtol=1e-10, atol=1e-10)
    assert torch.allclose(cross, other @ train.T, rtol=1e-10, atol=1e-10)


def test_kernels_refuse_partial_parameters():
    case = CASES[-1]
    plan = plan_parameters(case.model, case.train[0])
    assert not layer_kernels_apply(plan)
    with pytest.raises(InputError, match="whole parameters of layers with factors"):
        ntk.tangent_kernels(case.model, case.train[0], case.evaluation[0], plan)


def test_training_mode_and_frozen_parameters_are_left_as_they_were():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2)).double().train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    inputs = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, once = jacobian(model, inputs, plan_parameters(model, inputs))
    _, again = jacobian(model, inputs, plan_parameters(model, inputs))
    assert model.training
    assert torch.equal(once, again)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    expected = torch.cat(list(reference.full_jacobian(model, inputs).values()), dim=2)
    assert torch.allclose(once, expected, rtol=1e-10, atol=1e-12)


def test_parameters_are_chosen_by_name():
    model = build_model("lenet5", 10, (1, 28, 28))
    assert len(select_parameters(model)) == 10
    assert select_parameters(model, "head") == ["11.weight", "11.bias"]
    assert select_parameters(model, r"^0\.") == ["0.weight", "0.bias"]
    with pytest.raises(InputError, match="No parameter's name matches"):
        select_parameters(model, "head2")
    with pytest.raises(InputError, match="regular expression"):
        select_parameters(model, "(")
    with pytest.raises(InputError, match="no parameters"):
        select_parameters(nn.ReLU())


def test_a_layer_without_per_example_gradients_is_named():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.scale if float(x.detach().sum()) > 0 else x

    model = nn.Sequential(nn.Linear(3, 3), Mixing(), nn.Linear(3, 2))
    inputs = torch.ones(4, 3)
    plan = plan_parameters(model, inputs)
    with pytest.raises(InputError, match="No per-example gradients for layer 1"):
        jacobian(model, inputs, plan)


def test_only_layers_that_need_it_go_through_torch_func():
    for case in CASES[:-1]:
        assert layer_kernels_apply(plan_parameters(case.model, case.train[0])), case.name
    rest = plan_parameters(CASES[-1].model, CASES[-1].train[0]).rest
    assert {name.rpartition(".")[0] for name in rest} == {"2", "4", "4.layer", "4.tied", "4.outside"}


@pytest.mark.parametrize("gram", [True, False])
def test_both_forms_of_a_layers_kernel_are_the_same(gram, monkeypatch):
    monkeypatch.setattr(ntk, "gram_is_cheaper", lambda _layer: gram)
    for case in CASES[:-1]:
        test_kernels_equal_products_of_jacobians(case, "all", BATCH_BYTES, monkeypatch)


def test_layers_are_processed_in_groups_when_memory_is_short(monkeypatch):
    monkeypatch.setattr(ntk, "FACTOR_BYTES", 1)
    test_kernels_equal_products_of_jacobians(CASES[3], "all", BATCH_BYTES, monkeypatch)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(3, track_running_stats=False), "Layer '1' normalizes by the statistics of its batch"),
        (nn.Sequential(nn.Linear(3, 3), nn.Embedding(3, 3, max_norm=1.0)), "Layer '1.1' rescales its weights"),
    ],
)
def test_layers_that_mix_or_change_are_refused_by_name(layer, message):
    model = nn.Sequential(nn.Linear(3, 3), layer, nn.Linear(3, 2))
    with pytest.raises(InputError, match=message):
        plan_parameters(model, torch.ones(4, 3))


@pytest.mark.parametrize("mixing", [lambda x: x - x.mean(dim=0), lambda x: torch.dropout(x, 0.5, train=True)])
def test_a_model_that_mixes_examples_or_draws_is_refused(mixing):
    class Mixing(nn.Module):
        def forward(self, x):
            return mixing(x)

    inputs = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="no gradient of its own"):
        plan_parameters(nn.Sequential(nn.Linear(30, 30), Mixing(), nn.Linear(30, 2)), inputs)


def test_positions_before_examples_go_through_torch_func():
    class PositionsFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x.transpose(0, 1)).mean(dim=0)

    model, inputs = PositionsFirst().double(), torch.randn(2, 2, 4, dtype=torch.float64)
    plan = plan_parameters(model, inputs)
    assert plan.rest == ["layer.weight", "layer.bias"]
    expected = torch.cat(list(reference.full_jacobian(model, inputs).values()), dim=2)
    assert torch.allclose(jacobian(model, inputs, plan)[1], expected, rtol=1e-10)


def test_coordinates_keep_inner_products_on_average():
    x, y = torch.randn(2, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    estimates = []
    for seed in range(3000):
        chosen = Coordinates.choose(300, 30, torch.Generator().manual_seed(seed))
        estimates.append(float((x[chosen.indices] * y[chosen.indices]).sum()) * chosen.scale**2)
    mean, deviation = torch.tensor(estimates).mean(), torch.tensor(estimates).std()
    assert abs(float(mean - x @ y)) < 4 * float(deviation) / 3000**0.5


def test_a_parameter_with_a_gradient_of_zero_keeps_its_layers_factors():
    """The bias of attention keys shifts every score of a query equally, so no output depends on it."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(dim=2)
            return self.out((weights @ x).mean(dim=1))

    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        inputs = torch.randn(3, 5, 6, dtype=dtype)
        assert plan_parameters(Attention().to(dtype), inputs).rest == []
