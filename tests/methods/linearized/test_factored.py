"""Changes of low rank give the same numbers as changes with a row for each output."""

import pytest
import torch

from attribution_core.methods.linearized import factored
from attribution_core.methods.linearized.mean_effects import iterate_effects_and_means
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent


def scores(linear: LinearizedModel, schedule: GradientDescent) -> dict[str, torch.Tensor]:
    information = functional_sample_information(linear, schedule)
    parts = list(iterate_effects_and_means(linear, schedule, information, 7))
    return {
        "F-SI": information,
        "SI": sample_information(linear, schedule),
        "SI, Langevin": sample_information(linear, schedule, covariance="langevin"),
        "effects": torch.cat([part[1] for part in parts]),
        "means": torch.cat([part[2] for part in parts]),
    }


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("evaluated", [9, 60])  # fewer, and more, than features
@pytest.mark.parametrize(("steps", "decay"), [(1.0, 0.0), (300.0, 0.0), (1e5, 1e-3)])
def test_both_ways_agree(monkeypatch, dtype, tolerance, evaluated, steps, decay):
    generator = torch.Generator().manual_seed(0)
    n, k, p = 80, 40, 20
    strength = torch.logspace(0, -3, p, dtype=torch.float64)
    jacobians = [
        torch.randn(count, 1, p, generator=generator, dtype=torch.float64) * strength for count in (n, evaluated)
    ]
    outputs = [
        torch.randn(count, k, generator=generator, dtype=torch.float64) for count in (n, evaluated, n, evaluated)
    ]
    linear = LinearizedModel.from_jacobians(*jacobians, *outputs, dtype=dtype)
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), steps, decay * float(linear.eigenvalues.mean()))
    assert factored.can_factor(linear, schedule)
    found = scores(linear, schedule)
    monkeypatch.setattr(factored, "FROM_OUTPUTS", k + 1)
    assert not factored.can_factor(linear, schedule)
    for name, expected in scores(linear, schedule).items():
        assert torch.allclose(found[name], expected, rtol=0, atol=tolerance * float(expected.abs().max())), name


@pytest.mark.parametrize("schedule", [GradientDescent(0.01, 0), GradientDescent(0.01, 5, loss="mean")])
def test_schedules_without_one_sum_of_resolvents_are_not_factored(schedule):
    ones = torch.ones(3, 1, 2, dtype=torch.float64), torch.ones(2, 1, 2, dtype=torch.float64)
    outputs = [torch.ones(count, 30, dtype=torch.float64) for count in (3, 2, 3, 2)]
    assert not factored.can_factor(LinearizedModel.from_jacobians(*ones, *outputs), schedule)
