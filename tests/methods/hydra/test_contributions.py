import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from attribution_core.errors import InputError
from attribution_core.methods.hydra import pairs as hydra_pairs
from attribution_core.methods.hydra import responses
from attribution_core.methods.hydra.contributions import hydra, step_factors
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import Recipe, batches, loss_values, train
from tests.support.trainings import MODELS, RECIPE, RECIPES, N, cnn, mlp, train_and_evaluation


def gradient(model, inputs, targets, loss):
    """Gradient of one example, as a vector."""
    value = loss_values(model(inputs[None]), targets[None], loss)[0]
    return parameters_to_vector(torch.autograd.grad(value, list(model.parameters()))).detach()


def algorithm_1(build, recipe, rates):
    """Explicit forward recursion of the paper: d w_T / d epsilon_i of every example, ``[n, |w|]``, and the model."""
    (inputs, labels), _ = train_and_evaluation()
    model, p, decay = build(), recipe.momentum, recipe.weight_decay
    velocity = torch.zeros_like(parameters_to_vector(model.parameters()).detach())
    moved, speed = (
        torch.zeros(N, len(velocity), dtype=torch.float64),
        torch.zeros(N, len(velocity), dtype=torch.float64),
    )
    for step, batch in enumerate(batches(recipe, N)):
        gradients = torch.stack([gradient(model, inputs[i], labels[i], recipe.loss) for i in batch])
        speed = p * speed + decay * moved
        speed[batch] += N / len(batch) * gradients
        moved = moved - rates[step] * speed
        weights = parameters_to_vector(model.parameters()).detach()
        velocity = p * velocity + gradients.mean(dim=0) + decay * weights
        nn.utils.vector_to_parameters((weights - rates[step] * velocity).clone(), model.parameters())
    return moved, model


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_hessian_free_equals_algorithm_1(build, recipe):
    train_side, (inputs, labels) = train_and_evaluation()
    trajectory = train(build(), train_side, recipe)
    moved, model = algorithm_1(build, recipe, trajectory.rates)
    final = torch.stack([gradient(model, x, y, recipe.loss) for x, y in zip(inputs, labels, strict=True)])
    expected = -(moved @ final.T) / N
    each = hydra(trajectory, (inputs, labels))
    assert float((each.effect - expected).norm() / expected.norm()) < 1e-9
    mean = hydra(trajectory, (inputs, labels), objective="mean")
    assert float((mean.effect - expected.mean(dim=1)).norm() / expected.mean(dim=1).norm()) < 1e-9
    assert torch.allclose(mean.by_epoch.sum(dim=0), mean.effect)
    assert mean.by_epoch.shape == (3, N)
    assert torch.allclose(each.by_epoch, mean.by_epoch, rtol=1e-9, atol=1e-15)
    classes = hydra(trajectory, (inputs, labels), objective="class").effect
    by_class = torch.stack([expected[:, labels == label].mean(dim=1) for label in range(3)], dim=1)
    assert float((classes - by_class).norm() / by_class.norm()) < 1e-9


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_hessian_aware_equals_finite_differences(build, recipe):
    train_side, (inputs, labels) = train_and_evaluation()
    trajectory = train(build(), train_side, recipe)
    recipe = recipe.model_copy(update={"schedule": "constant"}) if len(set(trajectory.rates)) == 1 else recipe

    def losses(weights):
        model = build()
        train(model, train_side, recipe, sample_weights=weights)
        return loss_values(model(inputs), labels, recipe.loss).detach()

    step, rows = 1e-5, []
    for i in range(N):
        up, down = torch.ones(N, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
        up[i] += step
        down[i] -= step
        rows.append(-(losses(up) - losses(down)) / (2 * step))
    expected = torch.stack(rows)
    each = hydra(trajectory, (inputs, labels), hessian=True, energy=1.0)
    assert float((each.effect - expected).norm() / expected.norm()) < 1e-5
    assert math.isclose(each.kept_energy, 1.0, abs_tol=1e-12)
    mean = hydra(trajectory, (inputs, labels), hessian=True, objective="mean")
    assert float((mean.effect - expected.mean(dim=1)).norm() / expected.mean(dim=1).norm()) < 1e-5
    assert torch.allclose(mean.by_epoch.sum(dim=0), mean.effect)
    classes = hydra(trajectory, (inputs, labels), hessian=True, objective="class").effect
    by_class = torch.stack([expected[:, labels == label].mean(dim=1) for label in range(3)], dim=1)
    assert float((classes - by_class).norm() / by_class.norm()) < 1e-5


def test_a_smaller_basis_reports_what_it_keeps():
    train_side, evaluation = train_and_evaluation()
    trajectory = train(mlp(), train_side, RECIPE)
    exact = hydra(trajectory, evaluation, hessian=True, energy=1.0).effect
    errors = []
    for rank in (1, 3, 9):
        found = hydra(trajectory, evaluation, hessian=True, rank=rank)
        errors.append(float((found.effect - exact).norm() / exact.norm()))
        assert (found.kept_energy < 1 - 1e-9) == (rank < 9)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9


@pytest.mark.parametrize("hessian", [False, True])
def test_blocks_and_segments_change_nothing(hessian, monkeypatch):
    train_side, evaluation = train_and_evaluation()
    trajectory = train(cnn(), train_side, RECIPE)
    whole = hydra(trajectory, evaluation, hessian=hessian, energy=1.0)
    monkeypatch.setattr(responses, "HELD_BYTES", 3000)
    monkeypatch.setattr(hydra_pairs, "HELD_BYTES", 3000)
    monkeypatch.setattr(hydra_pairs, "EVALUATION_BATCH", 2)
    seen = []
    with listening(lambda *step: seen.append(step)):
        split = hydra(trajectory, evaluation, hessian=hessian, energy=1.0)
    assert torch.allclose(split.effect, whole.effect, rtol=1e-10, atol=1e-14)
    if not hessian:
        assert torch.allclose(split.by_epoch, whole.by_epoch, rtol=1e-10, atol=1e-14)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("sums_first", [True, False])
def test_both_methods_of_a_layer_agree(sums_first, monkeypatch):
    """Summing gradients first, and multiplying with the evaluation gradients at every step."""
    train_side, evaluation = train_and_evaluation()
    monkeypatch.setattr(hydra_pairs, "_is_cheaper_summed_first", lambda *_: sums_first)
    for build in MODELS.values():
        trajectory = train(build(), train_side, RECIPE)
        each = hydra(trajectory, evaluation)
        mean = hydra(trajectory, evaluation, objective="mean")
        assert torch.allclose(each.effect.mean(dim=1), mean.effect, rtol=1e-9, atol=1e-15)
        assert torch.allclose(each.by_epoch, mean.by_epoch, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("bias", [True, False])
def test_factors_of_the_first_layer_are_summed_first(bias, monkeypatch):
    """Its inputs are the same at every step, as those of a layer behind layers without weights are."""
    train_side, evaluation = train_and_evaluation()
    monkeypatch.setattr(hydra_pairs, "_is_cheaper_summed_first", lambda *_: False)
    torch.manual_seed(0)
    width = train_side[0].flatten(1).shape[1]
    model = nn.Sequential(
        nn.Flatten(), nn.Tanh(), nn.Linear(width, 9, bias=bias), nn.Tanh(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)
    ).double()
    trajectory = train(model, train_side, RECIPE)
    route = hydra_pairs._route(hydra_pairs.Replay(trajectory), len(evaluation[0]))
    assert [name for name, layer in route.layers.items() if layer.has_fixed_inputs] == ["2"]
    found = hydra(trajectory, evaluation)
    monkeypatch.setattr(hydra_pairs, "_with_fixed_inputs", lambda *_: set())
    expected = hydra(trajectory, evaluation)
    assert torch.allclose(found.effect, expected.effect, rtol=1e-9, atol=1e-15)
    assert torch.allclose(found.by_epoch, expected.by_epoch, rtol=1e-9, atol=1e-15)


def test_a_training_cut_short_ends_at_its_checkpoint():
    train_side, evaluation = train_and_evaluation()
    constant = RECIPES["plain"]
    trajectory = train(mlp(), train_side, constant, record="checkpoints")
    short = train(mlp(), train_side, constant.model_copy(update={"epochs": 2}))
    for hessian in (False, True):
        cut = hydra(trajectory.until(2), evaluation, hessian=hessian, objective="mean").effect
        assert torch.equal(cut, hydra(short, evaluation, hessian=hessian, objective="mean").effect)
    assert trajectory.until(3) is trajectory
    with pytest.raises(InputError, match="no checkpoint after epoch 1"):
        short.until(1)


def test_sample_weights_count_and_removed_examples_have_no_effect():
    train_side, evaluation = train_and_evaluation()
    weights = torch.linspace(0, 2, N, dtype=torch.float64)
    trajectory = train(mlp(), train_side, RECIPE, sample_weights=weights)
    pairs = hydra(trajectory, evaluation).effect
    means = hydra(trajectory, evaluation, objective="mean").effect
    assert torch.allclose(pairs.mean(dim=1), means, rtol=1e-9)
    assert float(pairs[0].abs().max()) == 0


def test_the_factors_of_steps_without_momentum_and_decay_are_the_rates():
    train_side, _ = train_and_evaluation()
    trajectory = train(mlp(), train_side, RECIPES["plain"])
    assert torch.allclose(step_factors(trajectory), -torch.tensor(trajectory.rates, dtype=torch.float64))


def test_models_of_the_zoo_work_in_float32_and_are_left_as_they_were():
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(20, 1, 28, 28, generator=generator), torch.randint(10, (20,), generator=generator)
    model = build_model("lenet5", 10, (1, 28, 28))
    trajectory = train(model, (inputs, labels), Recipe(batch_size=8, epochs=2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pairs = hydra(trajectory, (inputs[:5], labels[:5])).effect
    mean = hydra(trajectory, (inputs[:5], labels[:5]), objective="mean").effect
    assert torch.allclose(pairs.mean(dim=1), mean, rtol=1e-3, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_growth_separates_stable_training_from_chaos():
    train_side, evaluation = train_and_evaluation()
    calm = train(mlp(), train_side, RECIPES["plain"].model_copy(update={"learning_rate": 1e-4}))
    assert hydra(calm, evaluation, hessian=True, objective="mean").growth < 1.1
    assert hydra(calm, evaluation, objective="mean").growth is None

    def quadratic(rate, steps):  # half squared error in one weight: w moves by 1 - rate x^2 a step
        x, y = torch.full((1, 1), 3.0, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        model = nn.Linear(1, 1, bias=False).double()
        recipe = Recipe(
            loss="mse", learning_rate=rate, momentum=0.0, weight_decay=0.0, epochs=steps, schedule="constant"
        )
        return hydra(train(model, (x, y), recipe), (x, y + 1), hessian=True, objective="mean")

    assert quadratic(0.3, 6).growth == pytest.approx((0.3 * 9 - 1) ** 6, rel=1e-9)
    assert quadratic(0.1, 6).growth == 1.0


def test_a_derivative_beyond_the_precision_is_refused():
    x, y = torch.full((1, 1), 3.0), torch.zeros(1, 1)
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)  # starts at its optimum; every step takes it 26 times as far away
    recipe = Recipe(loss="mse", learning_rate=3.0, momentum=0.0, weight_decay=0.0, epochs=40, schedule="constant")
    with pytest.raises(InputError, match="not a finite number"):
        hydra(train(model, (x, y), recipe), (x, y + 1), hessian=True, objective="mean")


def test_what_cannot_be_replayed_is_refused_by_name():
    train_side, evaluation = train_and_evaluation()
    normalised = nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)).double()
    with pytest.raises(InputError, match=r"Layer '1' normalizes by the statistics of its batch, even in evaluation"):
        hydra(train(normalised, train_side, RECIPE), evaluation)
    random = nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.5), nn.Linear(4, 3)).double()
    with pytest.raises(InputError, match=r"Layer '1' \(Dropout\)"):
        hydra(train(random, train_side, RECIPE), evaluation)
    adam = RECIPE.model_copy(update={"optimizer": "adam", "learning_rate": 1e-3})
    with pytest.raises(InputError, match="need SGD with momentum and weight decay, not adam"):
        hydra(train(mlp(), train_side, adam), evaluation)
    trajectory = train(mlp(), train_side, RECIPE)
    trajectory.final["0.weight"] += 1e-9
    with pytest.raises(InputError, match="did not end at the recorded weights"):
        hydra(trajectory, evaluation)
    with pytest.raises(InputError, match="no steps"):
        hydra(train(mlp(), train_side, RECIPE.model_copy(update={"epochs": 0})), evaluation)
    with pytest.raises(InputError, match="objective must be"):
        hydra(trajectory, evaluation, objective="all")
    with pytest.raises(InputError, match="energy"):
        hydra(trajectory, evaluation, hessian=True, energy=0.0)
    with pytest.raises(
        InputError, match=r"'1.scale' has no per-example gradient, neither by factors nor by torch.func"
    ):
        hydra(train(nn.Sequential(nn.Linear(16, 3), Gated()).double(), train_side, RECIPE), evaluation)


class Gated(nn.Module):
    """A scale that is used where a value says so."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale if x.detach().sum().item() > -1e9 else x
