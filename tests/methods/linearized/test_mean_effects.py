"""Mean effects on all evaluation examples are the means of the effects on each."""

import pytest
import torch

from attribution_core.methods.linearized.mean_effects import iterate_effects_and_means
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_means_are_those_of_single_effects(rows, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    n, m, k, p = 30, 17, 3, 8

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    jacobians = drawn(n, rows, p), drawn(m, rows, p)
    linear = LinearizedModel.from_jacobians(*jacobians, *(drawn(count, k) for count in (n, m, n, m)), dtype=dtype)
    schedule = GradientDescent(0.5 / float(linear.eigenvalues[-1]), 20)
    every = linear.removal_effects(schedule)
    information = functional_sample_information(linear, schedule)
    parts = list(iterate_effects_and_means(linear, schedule, information, 5))
    effects, means = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
    assert torch.equal(torch.cat([torch.arange(n)[part[0]] for part in parts]), torch.arange(n))
    assert torch.allclose(effects, every[:, :5], rtol=0, atol=tolerance * float(every.abs().max()))
    assert torch.allclose(means, every.mean(dim=1), rtol=0, atol=tolerance * float(every.abs().max()))
