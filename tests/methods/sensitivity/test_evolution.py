import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.sensitivity.evolution import memory_evolution, regularization_at
from attribution_core.methods.sensitivity.perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.training import Recipe, loss_values, mean_loss, outputs_of, train


def trained(optimizer, record="checkpoints", weight_decay=0.02):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)
    model = build_model("mlp", 3, (5,), hidden=[6]).double()
    recipe = Recipe(optimizer=optimizer, learning_rate=0.02, batch_size=16, epochs=4, weight_decay=weight_decay)
    return train(model, (inputs, labels), recipe, record=record)


@pytest.mark.parametrize(
    ("optimizer", "posterior"), [("sgd", "diagonal"), ("sgd", "full"), ("adam", "adam"), ("iblr", "iblr")]
)
def test_each_evaluation_uses_the_model_of_its_time(optimizer, posterior):
    trajectory = trained(optimizer)
    test = trajectory.data[0][:7] + 0.1, trajectory.data[1][:7]
    found = memory_evolution(trajectory, posterior, test=test)
    assert found.steps == [3, 6, 9, 12]
    other = build_model("mlp", 3, (5,), hidden=[6]).double()
    for time, step in enumerate(found.steps):
        other.load_state_dict(trajectory.checkpoints[step])
        moments = trajectory.second_moments[step]
        expected = memory_sensitivity(other, trajectory.data, 0.8, posterior=posterior, second_moments=moments)
        assert torch.allclose(found.sensitivity[time], expected.sensitivity, rtol=1e-9)
        assert float(found.loo_loss[time]) == pytest.approx(float(expected.loo_loss.mean()))
        assert float(found.test_loss[time]) == pytest.approx(mean_loss(other, test, "cross_entropy"))
        own = loss_values(outputs_of(other, trajectory.data[0]), trajectory.data[1], "cross_entropy")
        assert float(found.train_loss[time]) == pytest.approx(float(own.mean()))
    for name, value in trajectory.model.state_dict().items():
        assert torch.equal(value, trajectory.final[name])


def test_chosen_steps_may_be_the_first_and_the_last():
    trajectory = trained("sgd")
    found = memory_evolution(trajectory, steps=[0, 6, 12])
    assert found.sensitivity.shape == (3, 40)
    assert torch.isnan(found.test_loss).all()
    last = memory_evolution(trained("sgd", record="none"))
    assert last.steps == [12]
    assert torch.allclose(last.sensitivity[0], found.sensitivity[2])


def test_groups_follow_the_last_order():
    found = memory_evolution(trained("sgd"))
    grouped = found.grouped(8)
    assert grouped.shape == (4, 8)
    assert (grouped[-1].diff() <= 0).all()
    order = found.sensitivity[-1].argsort(descending=True)
    assert torch.allclose(grouped[0, 0], found.sensitivity[0, order[:5]].mean())
    assert torch.allclose(grouped.mean(dim=1), found.sensitivity.mean(dim=1))


def test_invalid_requests_are_refused():
    with pytest.raises(InputError, match="no checkpoint after step 5"):
        memory_evolution(trained("sgd"), steps=[3, 5])
    with pytest.raises(InputError, match="delta must be positive"):
        memory_evolution(trained("sgd", weight_decay=0.0))
    with pytest.raises(InputError, match="no second moment"):
        memory_evolution(trained("sgd"), "adam")
    with pytest.raises(InputError, match="Expected from 1 to 40 groups"):
        memory_evolution(trained("sgd")).grouped(41)


def test_time_counts_as_regularization_for_plain_gradient_descent():
    """On a quadratic loss, gradient descent for a time and ridge regression with 1 / time give similar results."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -2, 6, dtype=torch.float64)
    inputs = torch.randn(50, 6, generator=generator, dtype=torch.float64) * scales
    targets = inputs @ torch.randn(6, 1, generator=generator, dtype=torch.float64) / scales.mean()
    model = torch.nn.Linear(6, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    recipe = Recipe(
        loss="mse", learning_rate=0.05, momentum=0.5, weight_decay=0.0, batch_size=50, epochs=200, schedule="constant"
    )
    trajectory = train(model, (inputs, targets), recipe, record=[40])
    assert regularization_at(trajectory, 40) == pytest.approx(1 / (40 * 0.05 / 0.5))
    decay = regularization_at(trajectory, 200)
    assert decay == pytest.approx(1 / (200 * 0.05 / 0.5))
    values, vectors = torch.linalg.eigh(inputs.T @ inputs / 50)
    least_squares = vectors.T @ torch.linalg.lstsq(inputs, targets).solution
    part = (vectors.T @ model.weight[0, :, None]) / least_squares
    assert ((part / (values / (values + decay))[:, None] - 1).abs() < 0.7).all()
    found = memory_evolution(trajectory, "full", [200], early_stopping=True)
    by_hand = memory_sensitivity(model, (inputs, targets), 50 * decay, "mse", "full")
    assert torch.allclose(found.sensitivity[0], by_hand.sensitivity)
    assert regularization_at(trained("adam"), 12) == 0.02
