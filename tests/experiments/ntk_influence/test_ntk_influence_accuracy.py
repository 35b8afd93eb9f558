import math

import torch

from attribution_core.experiments.data import infinitely_wide
from attribution_core.experiments.ntk_influence.accuracy import (
    near_end,
    really_retrained,
    retrained_outputs,
)
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import TwoLayerReLU


def problem(n=12, m=5, d=6):
    draw = torch.randn(n + m, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.nn.functional.normalize(draw, dim=1)
    y = x[:, :1].sign()
    return x[:n], y[:n], x[n:], y[n:]


def test_descent_in_the_span_of_the_inputs_is_descent_on_the_weights():
    """Compare with eq. 2 by autograd, step by step."""
    inputs, targets, evaluation_inputs, _ = problem()
    torch.manual_seed(1)
    network = TwoLayerReLU(6, 50, kappa=0.3).double()
    schedule = GradientDescent(0.05, 40, 0.5, "discrete")
    outputs = retrained_outputs(network, inputs, targets, evaluation_inputs, schedule)
    start = network.first.weight.detach().clone()
    for _ in range(40):
        weight = network.first.weight
        loss = 0.5 * (network(inputs) - targets).square().sum() + 0.25 * (weight - start).square().sum()
        (gradient,) = torch.autograd.grad(loss, [weight])
        with torch.no_grad():
            weight.sub_(0.05 * gradient)
    assert torch.allclose(outputs, network(evaluation_inputs)[:, 0], rtol=1e-10)


def test_a_wide_network_has_the_predicted_influence():
    sides = problem()
    linear = infinitely_wide(*sides)
    schedule = near_end(linear.eigenvalues)
    left = (1 - schedule.learning_rate * (float(linear.eigenvalues[0]) + 1)) ** schedule.steps
    assert math.isclose(left, 0.01, rel_tol=0.5)
    removed = list(range(12))
    real = really_retrained(20_000, tuple(side.float() for side in sides), removed, schedule, seed=0)
    pair = torch.stack([real.flatten(), linear.removal_effects(schedule).flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.97
