"""Accuracy of float32 for large problems."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

from attribution_core.errors import InputError
from attribution_core.methods.linearized import decomposition
from attribution_core.methods.linearized.kernel_influence import ihvp_effects_in_kernel_regime, relu_ntk
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from tests.cases import LINEAR_CASES, schedules


def digits(outputs, **options):
    """The infinitely wide network on 500 + 100 handwritten digits: one output, or ten that share features."""
    images, labels = load_digits(return_X_y=True)
    x = torch.nn.functional.normalize(torch.tensor(images[:600], dtype=torch.float64), dim=1)
    y = torch.tensor(labels[:600])
    targets = torch.eye(10, dtype=torch.float64)[y] if outputs == 10 else (y > 4).double()[:, None]
    zeros = torch.zeros_like(targets)
    kernels = relu_ntk(x[:500], x[:500]), relu_ntk(x[500:], x[:500])
    return LinearizedModel.from_kernels(*kernels, zeros[:500], zeros[500:], targets[:500], targets[500:], **options)


@pytest.mark.parametrize("outputs", [1, 10])
@pytest.mark.parametrize(("steps", "middle", "worst"), [(10, 1e-6, 1e-5), (1000, 5e-6, 1e-3), (100_000, 1e-4, 2e-2)])
@pytest.mark.parametrize("measure", [functional_sample_information, sample_information])
def test_scores_in_float32_are_those_of_float64(outputs, steps, middle, worst, measure):
    exact, single = digits(outputs), digits(outputs, dtype=torch.float32)
    schedule = GradientDescent(1 / float(exact.eigenvalues[-1]), steps)
    expected, scores = measure(exact, schedule), measure(single, schedule)
    relative = (scores - expected).abs() / expected
    assert float(relative.median()) < middle
    assert float(relative[expected > 1e-6 * expected.max()].max()) < worst
    assert scores.dtype == torch.float64


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_every_result_in_float32_is_near(case):
    arguments = case.train_jacobian, case.evaluation_jacobian, *case.outputs_and_targets
    exact, single = (LinearizedModel.from_jacobians(*arguments, dtype=each) for each in (None, torch.float32))
    for schedule in schedules(case.largest):
        if schedule.is_interpolation:
            with pytest.raises(InputError, match="needs float64"):
                single.weight_changes(schedule)
            continue
        untrained = exact.gradients(GradientDescent(1.0, 0)).norm()
        assert float((single.gradients(schedule) - exact.gradients(schedule)).norm() / untrained) <= 1e-6, schedule
        for result in ("predictions", "weight_changes", "prediction_changes", "removal_effects"):
            expected = getattr(exact, result)(schedule)
            error = (getattr(single, result)(schedule) - expected).norm()
            assert float(error) <= 2e-4 * float(expected.norm()), (result, schedule)


def test_the_kernel_regime_estimate_in_float32_is_near():
    expected, single = (
        ihvp_effects_in_kernel_regime(digits(10, **each), 0.5) for each in ({}, {"dtype": torch.float32})
    )
    assert torch.allclose(single.effects, expected.effects, atol=1e-5 * float(expected.effects.abs().max()))
    assert torch.allclose(single.exact, expected.exact, atol=1e-5 * float(expected.exact.abs().max()))


def test_large_problems_use_float32_by_default(monkeypatch):
    assert digits(1).features.dtype == torch.float64
    monkeypatch.setattr(decomposition, "SINGLE_PRECISION_FROM", 1000)
    assert digits(1).features.dtype == torch.float32
    with pytest.raises(InputError, match="needs float64"):
        functional_sample_information(digits(1), GradientDescent(1.0, math.inf))
