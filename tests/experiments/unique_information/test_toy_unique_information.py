import math

import torch
from torch.distributions import MultivariateNormal

from attribution_core.experiments.unique_information.toy import (
    RATE,
    final_weights,
    gaussians,
    information,
    toy_information,
)


def test_sgd_takes_each_example_once_an_epoch():
    """With orthogonal inputs, each weight learns from its own example alone, in any order."""
    inputs, targets = torch.eye(7)[None], torch.arange(7.0)[None]
    weights = final_weights(inputs, targets, 3, 2, torch.Generator().manual_seed(0))
    assert weights.shape == (1, 3, 7)
    full, short = (1 - (1 - RATE / size) ** 2 for size in (5, 2))  # a batch of five, then one of two
    shares = weights[0] / targets[0].clamp(min=1)
    allowed = torch.tensor([full, short, 1 - (1 - RATE / 5) * (1 - RATE / 2)])
    assert (shares[:, 1:, None] - allowed).abs().amin(dim=2).max() < 1e-6


def test_information_of_gaussians_far_apart_and_equal():
    torch.manual_seed(0)
    covariance = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    apart = MultivariateNormal(100.0 * torch.arange(6, dtype=torch.float64).reshape(3, 2), covariance)
    equal = MultivariateNormal(torch.zeros(3, 2, dtype=torch.float64), covariance)
    assert math.isclose(float(information(apart)), math.log(3), rel_tol=1e-9)
    assert abs(float(information(equal))) < 1e-9


def test_moments_are_those_of_the_weights():
    weights = torch.randn(2, 5000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])
    given = gaussians(weights)
    assert torch.allclose(given.covariance_matrix[0], torch.tensor([1.0, 9.0]).diag().double(), atol=0.5)


def test_the_divergence_bounds_the_information():
    numbers = toy_information(seed=0, draws=8, runs=60, epochs=60)
    assert 0 < numbers["information"] < numbers["divergence"]
    assert numbers["information"] < math.log(8)
