"""Contributions over trainings with batch normalization."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from attribution_core.errors import InputError
from attribution_core.methods.hydra import responses
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.replay import Replay
from attribution_core.methods.hydra.requirements import refuse_for_hydra
from attribution_core.training import Recipe, batches, loss_values, train
from tests.support.trainings import N, train_and_evaluation

RECIPE = Recipe(learning_rate=0.05, momentum=0.9, weight_decay=0.05, batch_size=8, epochs=3)


def cnn(norm=nn.BatchNorm2d):
    """Two convolutions, the second of them grouped."""
    torch.manual_seed(0)
    layers = [nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, padding=1, bias=False), norm(4), nn.Tanh()]
    layers += [nn.AvgPool2d(2), nn.Conv2d(4, 4, 2, padding=1, groups=2), norm(4), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3)).double()


def mlp():
    """One norm averages over all batches, and one has no weights of its own."""
    torch.manual_seed(0)
    norms = nn.BatchNorm1d(7, momentum=None), nn.BatchNorm1d(5, affine=False, momentum=0.3)
    return nn.Sequential(nn.Linear(16, 7), norms[0], nn.Tanh(), nn.Linear(7, 5), norms[1], nn.Linear(5, 3)).double()


def continued():
    """A network whose running averages have been updated before, and one of whose norms stays as it was."""

    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):  # noqa: ARG002
            return super().train(False)

    torch.manual_seed(0)
    layers = [nn.Linear(16, 7), nn.BatchNorm1d(7, momentum=None), nn.Tanh(), Frozen(7), nn.Linear(7, 3)]
    model = nn.Sequential(*layers).double()
    for _ in range(2):
        model(torch.randn(6, 16, dtype=torch.float64))
    return model


MODELS = {"cnn": cnn, "mlp": mlp, "continued": continued}


def steps_of(build, recipe):
    """Explicit training: the model before each step, its batch and its velocity's factor; then the trained model."""
    model, recorded = build().train(), []
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    (inputs, labels), _ = train_and_evaluation()
    steps = recipe.steps(N)
    for step, batch in enumerate(batches(recipe, N)):
        recorded.append((copy.deepcopy(model), batch, recipe.rate(step, steps)))
        optimizer.param_groups[0]["lr"] = recipe.rate(step, steps)
        optimizer.zero_grad()
        loss_values(model(inputs[batch]), labels[batch], recipe.loss).mean().backward()
        optimizer.step()
    return recorded, model.eval()


def through_statistics(model, inputs, labels):
    """The gradient of each example's loss in a batch, by way of the batch's statistics too."""
    losses = loss_values(model(inputs), labels, "cross_entropy")
    return [torch.autograd.grad(each, list(model.parameters()), retain_graph=True) for each in losses]


def with_constants(model, inputs, labels):
    """The same with a model in evaluation mode that has the batch's statistics as its running ones."""
    constant, given = copy.deepcopy(model).eval(), {}
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)]
    norms = [name for name in norms if model.get_submodule(name).training]
    for name in norms:
        model.get_submodule(name).register_forward_pre_hook(lambda _, x, name=name: given.update({name: x[0]}))
    model(inputs)
    for name in norms:
        axes, layer = [0, *range(2, given[name].ndim)], constant.get_submodule(name)
        layer.running_mean, layer.running_var = given[name].mean(axes).detach(), given[name].var(axes, correction=0)
        layer.running_var = layer.running_var.detach()
    return through_statistics(constant, inputs, labels)


class OwnStatistics(nn.Module):
    """A norm whose statistics move with the layer before it, but not with that layer's input."""

    def __init__(self, norm, layer):
        super().__init__()
        self.norm, self.layer, self.given = norm, [layer], []
        layer.register_forward_pre_hook(lambda _, given: self.given.append(given[0].detach()))

    def forward(self, y):
        given, (layer,) = self.given[-1], self.layer
        weights = layer.weight, layer.bias
        alone = F.linear(given, *weights) if y.ndim == 2 else F.conv2d(given, *weights, padding=1, groups=layer.groups)
        axes, shape = [0, *range(2, y.ndim)], [1, -1, *[1] * (y.ndim - 2)]
        mean, variance = alone.mean(axes).reshape(shape), alone.var(axes, correction=0).reshape(shape)
        h = (y - mean) / (variance + self.norm.eps).sqrt()
        return h if self.norm.weight is None else h * self.norm.weight.reshape(shape) + self.norm.bias.reshape(shape)


def with_own_statistics(model, inputs, labels):
    """The gradient of each example's loss, through statistics of which each moves with the layer before alone."""
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)]
    for name in norms:
        if model.get_submodule(name).training:
            model[int(name)] = OwnStatistics(model[int(name)], model[int(name) - 1])
    return through_statistics(model, inputs, labels)


def algorithm_1(build, recipe, gradients_of):
    """Forward recursion of the paper with a given gradient of each example; effects ``[n, m]``."""
    (inputs, labels), (others, other_labels) = train_and_evaluation()
    recorded, final = steps_of(build, recipe)
    size = len(parameters_to_vector(final.parameters()))
    moved, speed = torch.zeros(2, N, size, dtype=torch.float64)
    for model, batch, rate in recorded:
        found = gradients_of(copy.deepcopy(model), inputs[batch], labels[batch])
        speed = recipe.momentum * speed + recipe.weight_decay * moved
        speed[batch] += torch.stack([parameters_to_vector(each) for each in found]) / len(batch)
        moved = moved - rate * speed
    ends = through_statistics(final, others, other_labels)
    return -moved @ torch.stack([parameters_to_vector(each) for each in ends]).T


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_exact_contributions_equal_finite_differences(build):
    """With the training's own batch statistics, and the running ones of the trained model."""
    side, (inputs, labels) = train_and_evaluation()
    trajectory = train(build(), side, RECIPE)

    def losses(weights):
        model = build()
        train(model, side, RECIPE, sample_weights=weights)
        return loss_values(model(inputs), labels, RECIPE.loss).detach()

    step, rows = 1e-5, []
    for i in range(6):
        change = step * torch.eye(N, dtype=torch.float64)[i]
        rows.append(-(losses(1 + change) - losses(1 - change)) / (2 * step))
    expected = torch.stack(rows)
    each = hydra(trajectory, (inputs, labels), hessian=True, energy=1.0)
    assert float((each.effect[:6] - expected).norm() / expected.norm()) < 1e-6
    mean = hydra(trajectory, (inputs, labels), hessian=True, objective="mean")
    assert torch.allclose(mean.effect, each.effect.mean(dim=1), rtol=1e-8, atol=1e-12)
    assert torch.allclose(mean.by_epoch.sum(dim=0), mean.effect)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_hessian_free_means_go_through_the_statistics(build):
    side, evaluation = train_and_evaluation()
    found = hydra(train(build(), side, RECIPE), evaluation, objective="mean").effect
    expected = algorithm_1(build, RECIPE, through_statistics).mean(dim=1)
    assert float((found - expected).norm() / expected.norm()) < 1e-9


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("as_rows", [False, True])
def test_statistics_of_pairs_move_with_the_layer_before(build, as_rows, monkeypatch):
    """Whether that layer's gradients are kept as factors or as rows."""
    side, evaluation = train_and_evaluation()
    monkeypatch.setattr("attribution_core.gradients.pairs.gram_is_cheaper", lambda _: not as_rows)
    found = hydra(train(build(), side, RECIPE), evaluation)
    expected = algorithm_1(build, RECIPE, with_own_statistics)
    assert float((found.effect - expected).norm() / expected.norm()) < 1e-9
    assert torch.allclose(found.by_epoch.sum(dim=0), expected.mean(dim=1), rtol=1e-9, atol=1e-14)


def test_statistics_of_a_norm_without_factors_are_constants_in_pairs():
    """Such as timm's, which holds an activation too."""

    class Own(nn.BatchNorm2d):
        pass

    side, evaluation = train_and_evaluation()
    found = hydra(train(cnn(Own), side, RECIPE), evaluation).effect
    expected = algorithm_1(lambda: cnn(Own), RECIPE, with_constants)
    assert float((found - expected).norm() / expected.norm()) < 1e-9
    refuse_for_hydra(cnn(Own), side[0][:2], RECIPE)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_replay_keeps_the_running_statistics(build, monkeypatch):
    """Also when it starts again from a snapshot; it checks that it ends at the recorded ones."""
    side, evaluation = train_and_evaluation()
    trajectory = train(build(), side, RECIPE, record="every_step")
    whole = hydra(trajectory, evaluation, hessian=True, objective="mean").effect
    monkeypatch.setattr(responses, "HELD_BYTES", 5000)
    assert torch.allclose(hydra(trajectory, evaluation, hessian=True, objective="mean").effect, whole, rtol=1e-10)
    replay = Replay(trajectory)
    for moment in replay.moments():
        state = replay.model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in trajectory.states[moment.step].items())


def test_a_norm_that_is_used_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.head = nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.norm(F.relu(self.norm(self.first(x)))))

    side, evaluation = train_and_evaluation()
    with pytest.raises(InputError, match="'norm' is used more than once"):
        hydra(train(Twice().double(), side, RECIPE), evaluation, objective="mean")
    with pytest.raises(InputError, match="'norm' is used more than once"):
        refuse_for_hydra(Twice().double(), side[0][:2], RECIPE)
