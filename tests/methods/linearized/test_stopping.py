"""The leave-one-out losses that choose a training time, against the models really trained without each example."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.methods.linearized.stopping import leave_one_out_losses, stopping_time

TIMES = [3.0, 30.0, 1000.0]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def without(i: int, rows: Tensor, outputs: Tensor, targets: Tensor, moment: GradientDescent) -> Tensor:
    """Return the outputs on example i of the model of the others, ``[k]``."""
    kept = [j for j in range(len(rows)) if j != i]
    sides = rows[kept], rows[[i]], outputs[kept], outputs[[i]], targets[kept], targets[[i]]
    return LinearizedModel.from_jacobians(*sides).predictions(moment.after_removal(len(rows), 1))[0]


@pytest.mark.parametrize("own_features", [False, True])
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_losses_of_values_are_those_of_the_models_without_each(own_features, loss):
    rows, outputs, targets = drawn(9, 2 if own_features else 1, 5), drawn(9, 2, seed=1), drawn(9, 2, seed=2)
    linear = LinearizedModel.from_jacobians(rows, rows[:3], outputs, outputs[:3], targets, targets[:3])
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), 1, weight_decay=0.1, loss=loss)
    found = leave_one_out_losses(linear, targets, schedule, TIMES)
    for time, value in zip(TIMES, found.mean(dim=1).tolist(), strict=True):
        moment = replace(schedule, steps=time)
        errors = [without(i, rows, outputs, targets, moment) - targets[i] for i in range(9)]
        assert value == pytest.approx(float(torch.stack(errors).square().sum(dim=1).mean()) / 2, rel=1e-5)


def test_losses_of_classes_are_those_at_the_best_temperature():
    labels = torch.arange(12) % 3
    targets, outputs = torch.eye(3, dtype=torch.float64)[labels], torch.zeros(12, 3, dtype=torch.float64)
    rows = drawn(12, 1, 6) + 3 * torch.eye(3, 6, dtype=torch.float64)[labels][:, None]
    linear = LinearizedModel.from_jacobians(rows, rows[:3], outputs, outputs[:3], targets, targets[:3])
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), 1)
    found = leave_one_out_losses(linear, labels, schedule, TIMES)
    for time, value in zip(TIMES, found.mean(dim=1).tolist(), strict=True):
        moment = replace(schedule, steps=time)
        held_out = torch.stack([without(i, rows, outputs, targets, moment) for i in range(12)])
        at = torch.logspace(-1, 2, 301, dtype=torch.float64)
        losses = [float(torch.nn.functional.cross_entropy(t * held_out, labels)) for t in at]
        assert value == pytest.approx(min(losses), rel=1e-4)


def test_the_time_is_the_shortest_within_a_standard_error_of_the_least_loss():
    noise = drawn(100)
    noise = (noise - noise.mean()) / noise.std(correction=0)  # a standard error of 0.1
    losses = torch.stack([noise + mean for mean in (1.5, 1.11, 1.09, 1.0, 1.05)])
    assert stopping_time(losses, [1.0, 2.0, 3.0, 4.0, 5.0]) == 3.0
