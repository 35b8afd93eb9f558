import pytest
import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.methods.hydra import online as module
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.online import HydraAccumulator
from attribution_core.training import batches, loss_values, train
from tests.support.trainings import MODELS, RECIPE, RECIPES, N, mlp, train_and_evaluation


def followed(model, recipe, **options):
    side, evaluation = train_and_evaluation()
    accumulator = HydraAccumulator(model, side[0], recipe, **options)
    with accumulator:
        trajectory = train(model, side, recipe, on_step=accumulator.step)
    return trajectory, *accumulator.contributions(evaluation)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_all_coordinates_are_exact_and_training_is_not_changed(build, recipe):
    trajectory, found, error = followed(build(), recipe, dimension=10_000)
    alone = train(build(), train_and_evaluation()[0], recipe)
    assert all(torch.equal(alone.final[name], value) for name, value in trajectory.final.items())
    expected = hydra(alone, train_and_evaluation()[1]).effect
    assert float((found.effect - expected).norm() / expected.norm()) < 1e-9
    assert error.relative < 1e-9
    assert error.rank_correlation > 1 - 1e-9


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_the_sketch_reports_its_error(build, monkeypatch):
    monkeypatch.setattr(module, "CHECKED", N)
    errors = []
    for dimension in (20, 40, 80):
        trajectory, found, error = followed(build(), RECIPE, dimension=dimension)
        exact = hydra(trajectory, train_and_evaluation()[1]).effect
        assert error.examples == N
        assert error.relative == pytest.approx(float((found.effect - exact).norm() / exact.norm()), rel=1e-6)
        errors.append(error.relative)
    assert errors[0] > errors[1] > errors[2]
    monkeypatch.setattr(module, "CHECKED", 5)
    assert followed(build(), RECIPE, dimension=40)[2].examples == 5


def with_dropout():
    layers = [nn.Linear(16, 7), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(7, 3)]
    return nn.Sequential(*layers).double()


def one_gradient(model, x, y):
    value = loss_values(model(x), y, "cross_entropy")
    return lambda i: torch.cat([g.flatten() for g in torch.autograd.grad(value[i], list(model.parameters()))])


def test_your_own_loop_can_be_followed_even_with_random_layers():
    """Algorithm 1 in explicit form, with the dropout masks of the training."""
    (inputs, labels), (evaluation_inputs, evaluation_labels) = train_and_evaluation()
    model, double = with_dropout(), with_dropout()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
    moved = torch.zeros(N, sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    speed = torch.zeros_like(moved)
    with HydraAccumulator(model, inputs, RECIPE, dimension=1000) as accumulator:
        for step, batch in enumerate(batches(RECIPE, N)):
            double.load_state_dict(model.state_dict())
            speed = 0.9 * speed + 0.05 * moved
            for place, i in enumerate(batch):
                torch.manual_seed(step)
                speed[i] += one_gradient(double, inputs[batch], labels[batch])(place) / len(batch)
            moved = moved - 0.1 * speed
            torch.manual_seed(step)
            optimizer.zero_grad()
            loss_values(model(inputs[batch]), labels[batch], "cross_entropy").mean().backward()
            accumulator.step(batch, 0.1)
            optimizer.step()
        found, _ = accumulator.contributions((evaluation_inputs, evaluation_labels))
    double.load_state_dict(model.state_dict())
    double.eval()
    rows = [
        one_gradient(double, x[None], y[None])(0) for x, y in zip(evaluation_inputs, evaluation_labels, strict=True)
    ]
    expected = -moved @ torch.stack(rows).T
    assert float((found.effect - expected).norm() / expected.norm()) < 1e-9


def test_what_cannot_be_followed_is_refused():
    inputs, _ = train_and_evaluation()[0]
    with pytest.raises(InputError, match=r"Layer '1' \(BatchNorm1d\)"):
        HydraAccumulator(nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double(), inputs, RECIPE)
    with pytest.raises(InputError, match="by factors"):
        HydraAccumulator(nn.Sequential(nn.Linear(16, 3), nn.PReLU()).double(), inputs, RECIPE)
    accumulator = HydraAccumulator(mlp(), inputs, RECIPE)
    with pytest.raises(InputError, match="backward pass"):
        accumulator.step(torch.arange(3), 0.1)
