"""Our SGD against PyTorch's, bit for bit."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from attribution_core.training.sgd import SGD


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def steps(model: nn.Module, optimizer: SGD | torch.optim.Optimizer, rates: list[float]) -> None:
    for number, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
        model.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_are_those_of_pytorchs_sgd(momentum, weight_decay):
    ours, theirs = network(), network()
    rates = [0.1, 0.05, 0.02, 0.02]
    steps(ours, SGD(ours.parameters(), 0.1, momentum, weight_decay), rates)
    steps(theirs, torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay), rates)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def test_a_parameter_without_a_gradient_stays():
    model = network()
    before = model[0].weight.detach().clone()
    model[0].requires_grad_(False)
    steps(model, SGD(model.parameters(), 0.1, 0.9, 0.1), [0.1, 0.1])
    assert torch.equal(model[0].weight, before)


def test_a_state_goes_on_as_before():
    whole, parts = network(), network()
    steps(whole, SGD(whole.parameters(), 0.1, 0.9, 0.1), [0.1, 0.1])
    first, second = (SGD(parts.parameters(), rate, 0.9, 0.1) for rate in (0.1, 0.3))
    steps(parts, first, [0.1])
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == 0.1
    parts.zero_grad()
    parts(torch.randn(4, 5, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    second.step()
    assert all(map(torch.equal, parts.parameters(), whole.parameters()))


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch, attribution_core as ac; from torch import nn; "
        "ac.train(nn.Linear(2, 2), (torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)), ac.Recipe(epochs=1)); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
