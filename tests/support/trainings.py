"""Small trainings in double precision: two networks, five recipes, and random data."""

import torch
from torch import nn

from attribution_core.methods.types import InputsAndTargets
from attribution_core.training import Recipe

N, M = 22, 9

RECIPE = Recipe(learning_rate=0.1, momentum=0.9, weight_decay=0.05, batch_size=8, epochs=3, schedule="cosine")
RECIPES = {
    "momentum, decay, cosine": RECIPE,
    "plain": RECIPE.model_copy(update={"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}),
    "plateau": RECIPE.model_copy(update={"schedule": "plateau", "patience": 0, "learning_rate": 0.8}),
    "step": RECIPE.model_copy(update={"schedule": "step", "milestones": (1,), "factor": 0.5}),
    "mse": RECIPE.model_copy(update={"loss": "mse"}),
    "binary_cross_entropy": RECIPE.model_copy(update={"loss": "binary_cross_entropy"}),
}


def mlp() -> nn.Module:
    """Return a network with one hidden layer and a layer norm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 3)).double()


def cnn() -> nn.Module:
    """Return a network with two convolutions, the second of them grouped."""
    torch.manual_seed(0)
    layers = [nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)).double()


MODELS = {"mlp": mlp, "cnn": cnn}


def train_and_evaluation() -> tuple[InputsAndTargets, InputsAndTargets]:
    """Return random inputs and labels of :data:`N` training and :data:`M` evaluation examples."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(N + M, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (N + M,), generator=generator)
    return (inputs[:N], labels[:N]), (inputs[N:], labels[N:])
