import math

import pytest
import torch
from torch.utils.data import TensorDataset

from attribution_core.errors import InputError
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from attribution_core.training import as_outputs
from tests.cases import model_cases
from tests.support import reference

CASES = model_cases()


def explicit(case, names=None):
    """The linearized model from Jacobians computed one backward pass at a time."""
    jacobians = []
    for inputs, _ in (case.train, case.evaluation):
        full = reference.full_jacobian(case.model, inputs)
        jacobians.append(torch.cat([full[name] for name in names or full], dim=2))
    outputs = [case.model(inputs).detach() for inputs, _ in (case.train, case.evaluation)]
    targets = [as_outputs(labels, outputs[0].shape[1]) for _, labels in (case.train, case.evaluation)]
    return LinearizedModel.from_jacobians(*jacobians, *outputs, *targets)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("steps", [200, math.inf])
def test_every_route_gives_the_same_scores(case, steps):
    expected = explicit(case)
    schedule = GradientDescent(0.5 / float(expected.eigenvalues[-1]), steps, 0.01)
    linear = linearize(case.model, case.train, TensorDataset(*case.evaluation))
    scores, right = (functional_sample_information(each, schedule) for each in (linear, expected))
    assert torch.allclose(scores, right, rtol=1e-8, atol=1e-12 * float(right.max()))
    assert torch.allclose(linear.predictions(schedule), expected.predictions(schedule), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[3]], ids=str)
@pytest.mark.parametrize("part", ["head", "weight", "bias"])
def test_a_head_alone_shares_its_features(case, part):
    names = [name for name, _ in case.model.named_parameters()][-2:]
    names = names if part == "head" else [name for name in names if name.endswith(part)]
    linear = linearize(case.model, case.train, case.evaluation, parameters=part if part == "head" else f"^{names[0]}$")
    assert linear.features.shape[1] == 1
    expected, schedule = explicit(case, names), GradientDescent(0.05, 300)
    scores, right = (functional_sample_information(each, schedule) for each in (linear, expected))
    assert torch.allclose(scores, right, rtol=1e-8)


def test_a_first_layer_is_not_mistaken_for_a_head():
    model = build_model("two_layer", 2, (5,), hidden=[7]).double()
    inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = inputs, torch.arange(8) % 2
    assert linearize(model, data, data).features.shape[1] == 2


def test_a_full_sketch_is_exact_and_a_small_one_is_seeded():
    case, schedule = CASES[2], GradientDescent(0.05, 300)
    exact = functional_sample_information(linearize(case.model, case.train, case.evaluation), schedule)

    def sketched(dimension, seed):
        linear = linearize(case.model, case.train, case.evaluation, "coordinates", dimension, seed=seed)
        return functional_sample_information(linear, schedule)

    assert torch.allclose(sketched(10**6, 0), exact, rtol=1e-8)
    assert torch.equal(sketched(4, 1), sketched(4, 1))
    assert not torch.allclose(sketched(4, 1), sketched(4, 2))


def test_example_order_changes_only_the_order():
    case, schedule = CASES[3], GradientDescent(0.05, 300)
    order = torch.randperm(len(case.train[0]), generator=torch.Generator().manual_seed(0))
    shuffled = tuple(side[order] for side in case.train)
    scores = functional_sample_information(linearize(case.model, case.train, case.evaluation), schedule)
    again = functional_sample_information(linearize(case.model, shuffled, case.evaluation), schedule)
    assert torch.allclose(again, scores[order], rtol=1e-8)


def test_bad_input_is_refused_in_a_sentence():
    model = build_model("mlp", 3, (4,), hidden=[5])
    good = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    with pytest.raises(InputError, match="Labels must be in"):
        linearize(model, (good[0], torch.full((6,), 7)), good)
    with pytest.raises(InputError, match="sketch must be"):
        linearize(model, good, good, sketch="random")
    with pytest.raises(InputError, match="dimension of 1 or more"):
        linearize(model, good, good, sketch="coordinates", dimension=0)
    with pytest.raises(InputError, match="at least one input and as many targets"):
        linearize(model, (good[0], good[1][:3]), good)
