"""Exact contributions over trainings by Adam and AdamW."""

import pytest
import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.methods.hydra import responses
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.online import HydraAccumulator
from attribution_core.training import Recipe, loss_values, train
from tests.support.trainings import MODELS, RECIPE, N, cnn, mlp, train_and_evaluation

ADAM = Recipe(
    optimizer="adam", learning_rate=0.02, momentum=0.8, second_momentum=0.95, weight_decay=0.05, batch_size=8, epochs=3
)
RECIPES = {
    "adam": ADAM,
    "adamw": ADAM.model_copy(update={"optimizer": "adamw", "weight_decay": 0.3}),
    "defaults": Recipe(optimizer="adamw", learning_rate=0.01, batch_size=8, epochs=2, schedule="constant"),
    "no averages": ADAM.model_copy(update={"momentum": 0.0, "weight_decay": 0.0, "loss": "mse"}),
}


def differences(build, recipe, sample, step=1e-6):
    """Central differences of the evaluation losses, through the training's own optimizer, ``[len(sample), m]``."""
    side, (inputs, labels) = train_and_evaluation()

    def losses(weights):
        model = build()
        train(model, side, recipe, sample_weights=weights)
        return loss_values(model(inputs), labels, recipe.loss).detach()

    changes = step * torch.eye(N, dtype=torch.float64)[list(sample)]
    return torch.stack([-(losses(1 + change) - losses(1 - change)) / (2 * step) for change in changes])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_exact_contributions_equal_finite_differences(build, recipe):
    side, (inputs, labels) = train_and_evaluation()
    trajectory = train(build(), side, recipe)
    expected = differences(build, recipe, range(6))
    each = hydra(trajectory, (inputs, labels), hessian=True, energy=1.0)
    assert float((each.effect[:6] - expected).norm() / expected.norm()) < 1e-5
    mean = hydra(trajectory, (inputs, labels), hessian=True, objective="mean")
    assert torch.allclose(mean.effect, each.effect.mean(dim=1), rtol=1e-8, atol=1e-12)
    assert torch.allclose(mean.by_epoch.sum(dim=0), mean.effect)
    assert mean.growth >= 1
    classes = hydra(trajectory, (inputs, labels), hessian=True, objective="class").effect
    by_class = torch.stack([each.effect[:, labels == label].mean(dim=1) for label in range(3)], dim=1)
    assert torch.allclose(classes, by_class, rtol=1e-8, atol=1e-12)


def test_growth_is_that_of_one_weight():
    """One weight and one example: the derivative of the loss in each earlier weight, by automatic differentiation."""
    x, y = torch.full((1, 1), 3.0, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.9)
    recipe = Recipe(
        optimizer="adam", loss="mse", learning_rate=0.5, momentum=0.5, second_momentum=0.9, weight_decay=0.0, epochs=4,
        schedule="constant",
    )  # fmt: skip
    found = hydra(train(model, (x, y), recipe), (x, y + 1), hessian=True, objective="mean")
    weight = torch.tensor(0.9, dtype=torch.float64)
    first = second = torch.zeros((), dtype=torch.float64)
    weights = [weight.requires_grad_()]
    for step in range(1, 5):
        gradient = 9 * weights[-1] - 3
        first, second = 0.5 * first + 0.5 * gradient, 0.9 * second + 0.1 * gradient**2
        denominator = (second / (1 - 0.9**step)).sqrt() + 1e-8
        weights.append(weights[-1] - 0.5 * first / (1 - 0.5**step) / denominator)
        weights[-1].retain_grad()
    # Each weight by itself: the averages before it are constants of its derivative, as they are in the recursion.
    (0.5 * (3 * weights[-1] - 2) ** 2).backward()
    slopes = torch.stack([each.grad for each in weights])
    assert found.growth == pytest.approx(float((slopes / slopes[-1]).abs().max()), rel=1e-9)


def test_segments_change_nothing(monkeypatch):
    side, evaluation = train_and_evaluation()
    trajectory = train(cnn(), side, ADAM)
    whole = hydra(trajectory, evaluation, hessian=True, energy=1.0).effect
    monkeypatch.setattr(responses, "HELD_BYTES", 20_000)
    split = hydra(trajectory, evaluation, hessian=True, energy=1.0).effect
    assert torch.allclose(split, whole, rtol=1e-9, atol=1e-14)


def test_weights_without_gradients_leave_the_derivative_finite():
    """Weights of an input that is always zero have a second moment of zero; those of a dead unit have too."""

    def build():
        model = mlp()
        with torch.no_grad():
            model[0].weight[0], model[0].bias[0] = 0.0, 0.0
            model[3].weight[:, 0], model[2].weight[0], model[2].bias[0] = 0.0, 0.0, 0.0
        return nn.Sequential(nn.Linear(16, 16, bias=False).double(), model)

    side, (inputs, labels) = train_and_evaluation()
    inputs, given = inputs.clone(), (side[0].clone(), side[1])
    given[0][:, 3] = 0.0
    recipe = ADAM.model_copy(update={"weight_decay": 0.0})

    def trained(weights):
        torch.manual_seed(3)
        model = build()
        trajectory = train(model, given, recipe, sample_weights=weights)
        return trajectory, float(loss_values(model(inputs), labels, "cross_entropy").mean().detach())

    trajectory, _ = trained(torch.ones(N, dtype=torch.float64))
    assert int((trajectory.second_moments[trajectory.steps]["0.weight"] == 0).sum()) >= 16
    found = hydra(trajectory, (inputs, labels), hessian=True, objective="mean").effect
    change = 1e-5 * torch.eye(N, dtype=torch.float64)[2]
    expected = -(trained(1 + change)[1] - trained(1 - change)[1]) / 2e-5
    assert torch.isfinite(found).all()
    assert float(found[2]) == pytest.approx(expected, rel=1e-5)


def test_pairs_without_the_hessian_are_refused():
    side, evaluation = train_and_evaluation()
    trajectory = train(mlp(), side, ADAM)
    with pytest.raises(InputError, match=r"Hessian-free contributions need SGD .* not adam.*hessian=True"):
        hydra(trajectory, evaluation)
    with pytest.raises(InputError, match="not adam"):
        HydraAccumulator(mlp(), side[0], ADAM)
    iblr = RECIPE.model_copy(update={"optimizer": "iblr", "learning_rate": 1e-3})
    with pytest.raises(InputError, match="draws its weights at random"):
        hydra(train(mlp(), side, iblr), evaluation, hessian=True)
