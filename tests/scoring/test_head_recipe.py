"""The weight decay of a head on frozen features."""

import pytest
import torch
from torch.nn import functional as F

from attribution_core.models import build_model
from attribution_core.scoring import head_recipe as module
from attribution_core.scoring.head_recipe import head_recipe
from attribution_core.training import Recipe, outputs_of, train

BOTH = frozenset({"weight_decay", "learning_rate"})


def noisy_classes(n, width, wrong=0.25):
    """Features of three classes around their centers, and labels of which some are wrong."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 3
    centers = torch.randn(3, width, generator=generator)
    features = 0.35 * centers[labels] + torch.randn(n, width, generator=generator)
    given = torch.where(torch.rand(n, generator=generator) < wrong, (labels + 1) % 3, labels)
    return features, labels, given


@pytest.mark.parametrize("width", [5, 40])
@pytest.mark.parametrize("classes", [True, False])
def test_the_decay_is_that_of_least_loss_on_examples_left_out(width, classes, monkeypatch):
    features, _, given = noisy_classes(24, width)
    features = features.double()
    targets = given if classes else features[:, 0] + given
    powers = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    monkeypatch.setattr(module, "_POWERS", powers)
    outputs = F.one_hot(given).double() if classes else targets.reshape(-1, 1)
    centered = features - features.mean(0)
    unit = float(centered.square().sum()) / len(features)
    losses = []
    for power in powers:
        left_out = torch.stack([_without(i, centered, outputs, unit * 10**power) for i in range(len(features))])
        if classes:
            factors = torch.logspace(-1, 2, 31)
            losses.append(min(float(F.cross_entropy(factor * left_out, given)) for factor in factors))
        else:
            losses.append(float((left_out - outputs).square().mean()))
    expected = unit * 10 ** powers[losses.index(min(losses))] / len(features) / (3 if classes else 1)
    found = head_recipe(Recipe(loss="cross_entropy" if classes else "mse"), BOTH, features, targets)
    assert found.weight_decay == pytest.approx(float(expected))


def _without(i, centered, outputs, decay):
    """Predict an example by ridge regression on the others; the penalty is on the deviations from the mean of all."""
    kept = torch.arange(len(centered)) != i
    rows = torch.cat([centered[kept], torch.ones(len(centered) - 1, 1, dtype=centered.dtype)], dim=1)
    penalty = torch.full((rows.shape[1],), float(decay), dtype=centered.dtype)
    penalty[-1] = 0
    weights = torch.linalg.solve(rows.T @ rows + penalty.diag(), rows.T @ outputs[kept])
    return centered[i] @ weights[:-1] + weights[-1]


def test_a_head_does_not_learn_wrong_labels_by_heart():
    features, labels, given = noisy_classes(600, 200)
    train_rows, test_rows = slice(0, 300), slice(300, 600)
    accuracies, fits = {}, {}
    for name, recipe in {
        "usual": Recipe(),
        "chosen": head_recipe(Recipe(), BOTH, features[train_rows], given[train_rows]),
    }.items():
        model = build_model("linear", 3, (200,))
        train(model, (features[train_rows], given[train_rows]), recipe)
        predicted = outputs_of(model, features).argmax(dim=1)
        accuracies[name] = float((predicted == labels)[test_rows].float().mean())
        fits[name] = float((predicted == given)[train_rows].float().mean())
    assert fits["usual"] > 0.97
    assert fits["chosen"] < 0.9
    assert accuracies["chosen"] > accuracies["usual"] + 0.1


def test_only_open_fields_are_chosen():
    features, _, given = noisy_classes(60, 10)
    recipe = Recipe(weight_decay=0.25, learning_rate=0.125)
    assert head_recipe(recipe, frozenset(), features, given) == recipe
    assert head_recipe(recipe, frozenset({"learning_rate"}), features, given).weight_decay == 0.25
    adam = Recipe(optimizer="adam", learning_rate=0.125)
    assert head_recipe(adam, BOTH, features, given).learning_rate == 0.125
