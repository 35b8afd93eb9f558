import math
from dataclasses import replace

import pytest
import torch

from attribution_core.methods.linearized.kernel_influence import ihvp_effects_in_kernel_regime
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.over_time import fsi_over_time, largest_effects_over_time
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent

TIMES = [10.0, 100.0, 1000.0, 31623.0, 1e5]


def shared_model(m: int) -> LinearizedModel:
    """A model of 150 examples whose 3 outputs share 60 features, with eigenvalues over six decades."""
    generator = torch.Generator().manual_seed(m)
    scale = torch.logspace(0, -3, 60, dtype=torch.float64)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    zeros = torch.zeros(150, 3), torch.zeros(m, 3)
    targets = (torch.eye(3, dtype=torch.float64)[torch.randint(3, (n,), generator=generator)] for n in (150, m))
    return LinearizedModel.from_jacobians(draw(150, 1, 60) * scale, draw(m, 1, 60) * scale, *zeros, *targets)


def own_model() -> LinearizedModel:
    """A model of 12 examples whose 3 outputs have 20 features of their own."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return LinearizedModel.from_jacobians(draw(12, 3, 20), draw(9, 3, 20), *(draw(n, 3) for n in (12, 9, 12, 9)))


MODELS = {"few evaluated": shared_model(9), "many evaluated": shared_model(200), "own features": own_model()}


def schedules(linear: LinearizedModel) -> list[GradientDescent]:
    rate = 1 / float(linear.eigenvalues[-1])
    return [
        GradientDescent(rate, 1000),
        GradientDescent(rate, 1000, weight_decay=1e-3 / rate),
        GradientDescent(rate / 2, 1000, dynamics="discrete"),
        GradientDescent(rate, 1000, loss="mean"),
    ]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", range(4))
def test_the_scores_are_those_of_each_time_in_double_precision(name, number):
    linear = MODELS[name]
    schedule = schedules(linear)[number]
    found = fsi_over_time(linear, schedule, TIMES).double()
    for time, scores in zip(TIMES, found, strict=True):
        expected = functional_sample_information(linear, replace(schedule, steps=time))
        error = (scores - expected).abs()
        assert float(error.max() / expected.max()) < 1e-5
        assert float((error / expected).median()) < 1e-5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", range(4))
def test_the_influencers_are_those_of_each_time_in_double_precision(name, number):
    linear = MODELS[name]
    schedule = schedules(linear)[number]
    found = largest_effects_over_time(linear, schedule, TIMES, top=2)
    assert found.shape == (len(TIMES), 2, len(linear.evaluation_targets))
    for time, rows in zip(TIMES, found, strict=True):
        effects = linear.removal_effects(replace(schedule, steps=time)).abs()
        # Where two effects differ by rounding only, either may be first.
        assert torch.allclose(effects.gather(0, rows), effects.topk(2, dim=0).values, rtol=1e-4)


def test_training_to_the_end_stays_in_double_precision():
    linear = MODELS["few evaluated"]
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), math.inf)
    expected = functional_sample_information(linear, schedule)
    assert torch.allclose(fsi_over_time(linear, schedule, [math.inf])[0].double(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["few evaluated", "many evaluated"])
def test_one_number_for_each_pair_gives_the_effects_with_weight_decay(name):
    linear, decay = MODELS[name], 0.3
    found = ihvp_effects_in_kernel_regime(linear, decay)
    expected = linear.removal_effects(GradientDescent(1.0, math.inf, decay))
    assert torch.allclose(found.exact, expected, rtol=1e-9, atol=1e-12)
