"""Contributions in parameters without factors: attention, tokens, tied and reused weights."""

import pytest
import torch
from torch import nn

import attribution_core as ac


class Tokens(nn.Module):
    """A token of its own, a Transformer layer, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4) * 0.3)
        self.embed = nn.Linear(3, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.twice = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = torch.cat([self.token.expand(len(x), 1, 4), self.embed(x)], dim=1)
        return self.head(torch.tanh(self.twice(torch.tanh(self.twice(self.layer(h)[:, 0])))))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_pairs_average_to_the_derivative_of_the_mean(loss):
    torch.manual_seed(0)
    model = Tokens().double()
    inputs, targets = torch.randn(9, 5, 3).double(), torch.arange(9) % 3
    evaluation = torch.randn(4, 5, 3).double(), torch.arange(4) % 3
    recipe = ac.Recipe(loss=loss, epochs=2, batch_size=4, learning_rate=0.1)
    weights = torch.linspace(0.5, 1.5, 9)
    trajectory = ac.train(model, (inputs, targets), recipe, sample_weights=weights)
    pairs = ac.hydra(trajectory, evaluation)
    mean = ac.hydra(trajectory, evaluation, objective="mean")
    assert torch.allclose(pairs.effect.mean(dim=1), mean.effect, rtol=1e-8, atol=1e-12)
    assert torch.allclose(pairs.by_epoch.sum(dim=0), mean.effect, rtol=1e-8, atol=1e-12)
    one = ac.hydra(trajectory, (evaluation[0][2:3], evaluation[1][2:3]), objective="mean")
    assert torch.allclose(pairs.effect[:, 2], one.effect, rtol=1e-8, atol=1e-12)
    exact = ac.hydra(trajectory, evaluation, hessian=True, objective="mean")
    assert torch.isfinite(exact.effect).all()
