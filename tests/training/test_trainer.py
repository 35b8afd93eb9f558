import copy
import re

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from attribution_core.errors import InputError
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import Recipe, as_outputs, batches, loss_values, mean_loss, state_of, train
from attribution_core.training.iblr import INITIAL_PRECISION


def problem(n=22, k=3):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(k, (n,), generator=generator), build_model("mlp", k, (5,), hidden=[6]).double()


RECIPE = Recipe(learning_rate=0.1, batch_size=8, epochs=3, weight_decay=0.01)


def by_hand(model, inputs, labels, recipe, weights):
    """The update rule written out: g = grad(mean loss) + weight_decay w; v = momentum v + g; w = w - rate v."""
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for step, batch in enumerate(batches(recipe, len(inputs))):
        outputs = model(inputs[batch])
        if recipe.loss == "mse":
            losses = 0.5 * (outputs - F.one_hot(labels[batch], 3)).pow(2).sum(1)
        elif recipe.loss == "binary_cross_entropy":
            p, y = outputs.sigmoid(), F.one_hot(labels[batch], 3)
            losses = -(y * p.log() + (1 - y) * (1 - p).log()).sum(1)
        else:
            losses = F.cross_entropy(outputs, labels[batch], reduction="none")
        gradients = torch.autograd.grad((weights[batch] * losses).sum() / len(batch), list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(recipe.momentum).add_(g + recipe.weight_decay * p)
                p -= recipe.rate(step, recipe.steps(len(inputs))) * v


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_training_follows_the_update_rule(loss, schedule):
    inputs, labels, model = problem()
    other = build_model("mlp", 3, (5,), hidden=[6]).double()
    recipe = RECIPE.model_copy(update={"loss": loss, "schedule": schedule})
    weights = torch.linspace(0, 2, len(inputs), dtype=torch.float64)
    train(model, (inputs, labels), recipe, sample_weights=weights)
    by_hand(other, inputs, labels, recipe, weights)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_follows_its_update_rule(optimizer):
    """Kingma and Ba 2015, algorithm 1; AdamW (Loshchilov and Hutter 2019) takes the decay out of the gradient."""
    inputs, labels, model = problem()
    other = build_model("mlp", 3, (5,), hidden=[6]).double()
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.01, "momentum": 0.8})
    train(model, (inputs, labels), recipe)
    first = [torch.zeros_like(p) for p in other.parameters()]
    second = [torch.zeros_like(p) for p in other.parameters()]
    steps = recipe.steps(len(inputs))
    for step, batch in enumerate(batches(recipe, len(inputs))):
        loss = F.cross_entropy(other(inputs[batch]), labels[batch])
        gradients = torch.autograd.grad(loss, list(other.parameters()))
        rate = recipe.rate(step, steps)
        with torch.no_grad():
            for p, m, v, g in zip(other.parameters(), first, second, gradients, strict=True):
                if optimizer == "adam":
                    g = g + recipe.weight_decay * p
                else:
                    p *= 1 - rate * recipe.weight_decay
                m.mul_(0.8).add_(0.2 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                p -= rate * (m / (1 - 0.8 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)


def test_iblr_follows_its_update_rule():
    """Eqs. 50-52 of the memory-perturbation equation, written out with the same draws."""
    inputs, labels, model = problem()
    other = build_model("mlp", 3, (5,), hidden=[6]).double()
    recipe = RECIPE.model_copy(update={"optimizer": "iblr", "momentum": 0.8, "second_momentum": 0.95, "seed": 5})
    trajectory = train(model, (inputs, labels), recipe, record="checkpoints")
    generator = torch.Generator().manual_seed(5)
    n, steps, decay = len(inputs), recipe.steps(len(inputs)), recipe.weight_decay
    means = [p.detach().clone() for p in other.parameters()]
    first, precisions = [torch.zeros_like(m) for m in means], [torch.full_like(m, INITIAL_PRECISION) for m in means]
    for step, batch in enumerate(batches(recipe, n)):
        draws = [
            torch.randn(m.shape, generator=generator, dtype=m.dtype) / (n * s).sqrt()
            for m, s in zip(means, precisions, strict=True)
        ]
        for p, m, draw in zip(other.parameters(), means, draws, strict=True):
            p.data = m + draw
        gradients = torch.autograd.grad(F.cross_entropy(other(inputs[batch]), labels[batch]), list(other.parameters()))
        for i, (g, draw) in enumerate(zip(gradients, draws, strict=True)):
            d = g * draw * n * precisions[i] + decay - precisions[i]
            precisions[i] = precisions[i] + 0.05 * d + 0.05**2 * d**2 / precisions[i] / 2
            first[i] = 0.8 * first[i] + 0.2 * (g + decay * means[i])
            means[i] = means[i] - recipe.rate(step, steps) * first[i] / (1 - 0.8 ** (step + 1)) / precisions[i]
    for p, m in zip(model.parameters(), means, strict=True):
        assert torch.allclose(p, m, rtol=1e-9, atol=1e-12)
    for value, s in zip(trajectory.second_moments[steps].values(), precisions, strict=True):
        assert torch.allclose(value, s, rtol=1e-9)
    assert sorted(trajectory.second_moments) == [3, 6, 9]
    assert sorted(trajectory.until(2).second_moments) == [3, 6]


def test_iblr_learns_the_posterior_of_a_linear_model():
    """Half squared errors in orthogonal inputs: the precision is N s = sum_i x_i^2 + delta, known in closed form."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.linalg.qr(torch.randn(64, 4, generator=generator, dtype=torch.float64))[0] * 8
    inputs *= torch.tensor([0.5, 1.0, 1.5, 2.0])
    targets = inputs @ torch.ones(4, 1).double() + torch.randn(64, 1, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(4, 1, bias=False).double()
    recipe = Recipe(
        loss="mse", optimizer="iblr", learning_rate=0.1, weight_decay=0.1, batch_size=64, epochs=6000,
        second_momentum=0.998,
    )  # fmt: skip
    trajectory = train(model, (inputs, targets), recipe)
    expected = inputs.square().mean(dim=0) + 0.1
    found = trajectory.second_moments[recipe.steps(64)]["weight"][0]
    assert torch.allclose(found, expected, rtol=0.25)
    best = torch.linalg.solve(inputs.T @ inputs + 6.4 * torch.eye(4).double(), inputs.T @ targets)[:, 0]
    assert torch.allclose(model.weight[0], best, atol=0.03)


def test_an_autoencoder_learns_its_pixels():
    inputs = torch.rand(12, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).square()
    model = build_model("mlp", 16, (4, 4), hidden=[8]).double()
    recipe = Recipe(loss="binary_cross_entropy", learning_rate=0.05, batch_size=12, epochs=60, weight_decay=0.0)
    trajectory = train(model, (inputs, inputs.flatten(1)), recipe)
    known = float(F.binary_cross_entropy(model(inputs).sigmoid(), inputs.flatten(1), reduction="sum").detach()) / 12
    assert mean_loss(model, (inputs, inputs.flatten(1)), recipe.loss) == pytest.approx(known)
    assert known < 0.9 * trajectory.epoch_losses[0]


def test_cudnn_keeps_its_settings():
    inputs, labels, model = problem()
    seen = []
    torch.backends.cudnn.benchmark = True
    try:
        model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.deterministic))
        train(model, (inputs, labels), RECIPE)
        assert all(seen)
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.deterministic
    finally:
        torch.backends.cudnn.benchmark = False


def test_a_plateau_lowers_the_rate_and_every_rate_is_recorded():
    inputs, labels, model = problem()
    recipe = RECIPE.model_copy(
        update={"schedule": "plateau", "patience": 0, "factor": 0.5, "learning_rate": 4.0, "epochs": 6}
    )
    trajectory = train(model, (inputs, labels), recipe)
    rate, best, expected = 4.0, float("inf"), []
    for loss in trajectory.epoch_losses:
        expected += [rate] * 3
        if loss >= best * (1 - 1e-4):
            rate *= 0.5
        best = min(best, loss)
    assert trajectory.rates == pytest.approx(expected)
    assert len(set(trajectory.rates)) > 1
    cosine = train(problem()[2], (inputs, labels), RECIPE)
    assert cosine.rates == [RECIPE.rate(step, 9) for step in range(9)]


def test_a_step_schedule_multiplies_the_rate_after_its_milestones():
    inputs, labels, model = problem()
    recipe = Recipe(**{**RECIPE.model_dump(), "schedule": "step", "milestones": (1, 4), "factor": 0.1, "epochs": 5})
    trajectory = train(model, (inputs, labels), recipe)
    rate = recipe.learning_rate
    assert trajectory.rates == pytest.approx([rate] * 3 + [0.1 * rate] * 9 + [0.01 * rate] * 3)
    for milestones in ((), (0, 3)):
        with pytest.raises(ValidationError, match="needs one or more milestones"):
            Recipe(schedule="step", milestones=milestones)


def test_a_plateau_may_be_one_of_the_training_and_the_validation_loss_together():
    inputs, labels, model = problem()
    validation = inputs[:5], (labels[:5] + 1) % 2  # wrong labels, on which the loss soon rises
    plateau = {"schedule": "plateau", "patience": 0, "factor": 0.5, "epochs": 6, "learning_rate": 1.0}
    recipe = RECIPE.model_copy(update={**plateau, "plateau_loss": "training_and_validation"})
    trajectory = train(model, (inputs, labels), recipe, record="checkpoints", validation=validation)
    rate, best, expected = 1.0, float("inf"), []
    for epoch, loss in enumerate(trajectory.epoch_losses):
        expected += [rate] * 3
        end = copy.deepcopy(model)
        end.load_state_dict(trajectory.checkpoints[3 * (epoch + 1)])
        watched = loss + mean_loss(end, validation, recipe.loss)
        if watched >= best * (1 - 1e-4):
            rate *= 0.5
        best = min(best, watched)
    assert trajectory.rates == pytest.approx(expected)
    alone = train(problem()[2], (inputs, labels), RECIPE.model_copy(update=plateau))
    assert trajectory.rates != pytest.approx(alone.rates)
    with pytest.raises(InputError, match="needs validation examples"):
        train(model, (inputs, labels), recipe)


def test_every_epoch_sees_every_example_once_in_a_seeded_order():
    order = list(batches(RECIPE, 22))
    assert [len(batch) for batch in order] == [8, 8, 6] * 3
    epochs = [torch.cat(order[start : start + 3]) for start in (0, 3, 6)]
    assert all(torch.equal(epoch.sort().values, torch.arange(22)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    again = list(batches(RECIPE, 22))
    assert all(torch.equal(one, two) for one, two in zip(order, again, strict=True))


@pytest.mark.parametrize(
    ("record", "steps"), [("none", []), ("checkpoints", [3, 6, 9]), ("every_step", range(1, 10)), ((2, 9), [2, 9])]
)
def test_the_trajectory_is_recorded_and_saved(record, steps, tmp_path):
    inputs, labels, model = problem()
    seen = []
    with listening(lambda *step: seen.append(step)):
        trajectory = train(model, TensorDataset(inputs, labels), RECIPE, record)
    assert list(trajectory.checkpoints) == list(steps)
    assert seen[-1] == (9, 9, "training, epoch 3 of 3")
    assert len(trajectory.epoch_losses) == 3
    trajectory.save(tmp_path / "trajectory")
    final = load_file(tmp_path / "trajectory" / "final.safetensors")
    assert all(torch.equal(final[name], value) for name, value in model.state_dict().items())
    if len(trajectory.checkpoints):
        last = load_file(tmp_path / "trajectory" / "step-0000009.safetensors")
        assert all(torch.equal(final[name], last[name]) for name in final)


def test_a_zero_weight_removes_an_example():
    inputs, labels, model = problem()
    other = build_model("mlp", 3, (5,), hidden=[6]).double()
    weights = torch.ones(22, dtype=torch.float64)
    weights[4] = 0
    train(model, (inputs, labels), RECIPE, sample_weights=weights)
    spoilt = inputs.clone()
    spoilt[4] = 100.0
    train(other, (spoilt, labels), RECIPE, sample_weights=weights)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_bad_input_is_refused_in_one_sentence():
    inputs, labels, model = problem()
    with pytest.raises(InputError, match=r"sample_weights must be \[22\]"):
        train(model, (inputs, labels), RECIPE, sample_weights=torch.ones(3))
    with pytest.raises(InputError, match="Training diverged in epoch"):
        train(model, (inputs, labels), RECIPE.model_copy(update={"learning_rate": 1e200, "loss": "mse"}))
    bce = RECIPE.model_copy(update={"loss": "binary_cross_entropy"})
    for targets in (-torch.rand(22, 3), torch.full((22, 3), 255)):
        with pytest.raises(InputError, match=r"targets in 0\.\.1, not"):
            train(model, (inputs, targets), bce)
    with pytest.raises(InputError, match="at least one"):
        train(model, (inputs[:0], labels[:0]), RECIPE)
    with pytest.raises(ValidationError):
        Recipe(learning_rate=-1)


def test_a_loss_that_is_no_number_is_a_divergence():
    inputs, labels, model = problem()
    recipe = RECIPE.model_copy(update={"learning_rate": 1e200, "loss": "mse"})
    message = r"Training diverged in epoch \d+: the loss is not a finite number. Use a learning rate below 1e\+200"
    with pytest.raises(InputError, match=message):
        train(model, (inputs, labels), recipe)


@pytest.mark.parametrize(
    ("weight", "epochs", "loss", "first"), [(2.0, 6, "2.05e+03", "2"), (0.2, 9, "1.31e+03", "0.02")]
)
def test_a_finite_loss_that_grew_a_thousandfold_is_a_divergence(weight, epochs, loss, first):
    """Each epoch of this training doubles the size of its only weight, so that the loss is four times as large."""
    data = torch.ones(4, 1), torch.zeros(4, 1)
    recipe = Recipe(learning_rate=3, momentum=0, weight_decay=0, batch_size=4, loss="mse", schedule="constant")

    def trained(epochs):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(model.weight, weight)
        return train(model, data, recipe.model_copy(update={"epochs": epochs}))

    losses = trained(epochs - 1).epoch_losses
    assert losses == pytest.approx([weight**2 / 2 * 4**epoch for epoch in range(epochs - 1)])
    found = f"the mean loss is {loss}, after {first} at the start. Use a learning rate below 3."
    with pytest.raises(InputError, match=re.escape(f"Training diverged in epoch {epochs}: {found}")):
        trained(epochs)


def test_weights_in_any_memory_format_are_kept_contiguous():
    model = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    assert all(value.is_contiguous() for value in state_of(model).values())


def test_losses_and_targets():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0])
    assert torch.allclose(loss_values(outputs, labels, "mse"), torch.tensor([0.5, 1.0]))
    assert torch.allclose(loss_values(outputs, labels, "cross_entropy"), torch.tensor([0.1269, 1.3133]), atol=1e-4)
    one = loss_values(torch.tensor([[2.0]]), torch.tensor([1]), "cross_entropy")
    assert torch.allclose(one, torch.tensor([0.1269]), atol=1e-4)
    several = loss_values(outputs, torch.tensor([[1.0, 0.5], [0.0, 0.0]]), "binary_cross_entropy")
    assert torch.allclose(several, torch.tensor([0.1269 + 0.6931, 0.6931 + 1.3133]), atol=1e-4)
    half = loss_values(torch.tensor([[0.0]]), torch.tensor([0.25]), "binary_cross_entropy")
    assert torch.allclose(half, torch.tensor([0.6931]), atol=1e-4)
    assert as_outputs(torch.tensor([0, 1]), 1).tolist() == [[0.0], [1.0]]
    assert as_outputs(torch.tensor([0.5, 1.5]), 1).tolist() == [[0.5], [1.5]]
    with pytest.raises(InputError, match="classes"):
        as_outputs(torch.tensor([0.5, 1.5]), 2)
