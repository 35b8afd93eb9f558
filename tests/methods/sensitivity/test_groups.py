import math

import pytest
import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.methods.sensitivity.groups import group_deviation, leave_one_class_out, loo_curve
from attribution_core.methods.sensitivity.perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.training import Recipe, loss_values
from tests.cases import model_cases
from tests.support.reference import jacobians_and_curvatures


@pytest.mark.parametrize("covariance", ["kept", "downdated"])
@pytest.mark.parametrize("posterior", ["full", "diagonal"])
@pytest.mark.parametrize("name", ["mlp, two hidden layers", "normalisations", "layers without factors"])
def test_groups_equal_the_explicit_step(name, posterior, covariance):
    case = next(case for case in model_cases() if case.name == name)
    inputs, labels = case.train
    rows, curvatures = jacobians_and_curvatures(case.model, inputs, "cross_entropy")
    precision = 0.3 * torch.eye(rows[0].shape[1]).double()
    precision += sum(j.T @ c @ j for j, c in zip(rows, curvatures, strict=True))
    if posterior == "diagonal":
        precision = precision.diagonal().diag()
    group = [1, 4, 5]
    j, c = torch.cat([rows[i] for i in group]), torch.block_diag(*(curvatures[i] for i in group))
    outputs = case.model(inputs[group]).detach()
    error = (outputs.softmax(dim=1) - nn.functional.one_hot(labels[group], outputs.shape[1])).flatten()
    left = precision - j.T @ c @ j if covariance == "downdated" else precision
    if posterior == "diagonal" and float(torch.linalg.eigvalsh(left)[0]) <= 0:
        left = precision  # the diagonal does not contain the group, so it cannot be removed
    expected = j @ torch.linalg.solve(left, j.T @ error)
    found = group_deviation(case.model, case.train, group, 0.3, posterior=posterior, covariance=covariance)
    assert torch.allclose(found.deviation.flatten(), expected, rtol=1e-7, atol=1e-11)
    assert torch.allclose(found.mean_deviation.flatten(), c @ expected, rtol=1e-7, atol=1e-11)
    one = group_deviation(case.model, case.train, [4], 0.3, posterior=posterior, covariance=covariance)
    single = memory_sensitivity(case.model, case.train, 0.3, posterior=posterior, covariance=covariance)
    assert torch.allclose(one.mean_deviation[0], single.mean_deviation[4], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("covariance", ["kept", "downdated"])
@pytest.mark.parametrize("posterior", ["adam", "iblr"])
def test_groups_take_the_posterior_of_an_optimizer(posterior, covariance):
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    rows, curvatures = jacobians_and_curvatures(case.model, case.train[0], "cross_entropy")
    generator = torch.Generator().manual_seed(0)
    moments = {name: torch.rand(p.shape, generator=generator).double() + 1 for name, p in case.model.named_parameters()}
    group, n = [1, 4, 5], len(rows)
    precision = n * torch.cat([moment.flatten() for moment in moments.values()]) + (0.3 if posterior == "adam" else 0)
    j, c = torch.cat([rows[i] for i in group]), torch.block_diag(*(curvatures[i] for i in group))
    outputs = case.model(case.train[0][group]).detach()
    error = (outputs.softmax(dim=1) - nn.functional.one_hot(case.train[1][group], 3)).flatten()
    removed = j.T @ c @ j if covariance == "downdated" else 0
    expected = j @ torch.linalg.solve(precision.diag() - removed, j.T @ error)
    options = {"posterior": posterior, "covariance": covariance, "second_moments": moments}
    found = group_deviation(case.model, case.train, group, 0.3, **options)
    assert torch.allclose(found.deviation.flatten(), expected, rtol=1e-7, atol=1e-11)
    with pytest.raises(InputError, match="no second moment"):
        group_deviation(case.model, case.train, group, 0.3, posterior=posterior)


@pytest.mark.parametrize("covariance", ["kept", "downdated"])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
def test_without_covariances_between_outputs_each_moves_alone(loss, covariance):
    """Appendix G.4: the sensitivity is ``sum_c |v_cc| |e_c| |sigma'_c|``; a group has a matrix for each output."""
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    inputs, labels = case.train
    if loss != "cross_entropy":
        labels = nn.functional.one_hot(labels, 3).double()
    options = {"loss": loss, "posterior": "diagonal", "covariance": covariance, "across_outputs": False}
    found = memory_sensitivity(case.model, (inputs, labels), 0.3, **options)
    whole = memory_sensitivity(case.model, (inputs, labels), 0.3, loss, "diagonal").variance
    outputs = case.model(inputs).detach()
    p = {"cross_entropy": outputs.softmax(dim=1), "binary_cross_entropy": outputs.sigmoid(), "mse": outputs}[loss]
    slope = torch.ones_like(p) if loss == "mse" else p * (1 - p)
    error = p - (nn.functional.one_hot(labels, 3) if loss == "cross_entropy" else labels)
    v = whole.diagonal(dim1=1, dim2=2)
    if covariance == "downdated":
        held = (slope * v).amax(dim=1, keepdim=True) < 1
        v = torch.where(held, v / (1 - slope * v), v)
    assert torch.allclose(found.sensitivity, (v.abs() * error.abs() * slope.abs()).sum(dim=1), rtol=1e-9)
    one = group_deviation(case.model, (inputs, labels), [4], 0.3, **options)
    assert torch.allclose(one.mean_deviation[0], found.mean_deviation[4], rtol=1e-9, atol=1e-14)
    rows, _ = jacobians_and_curvatures(case.model, inputs, "cross_entropy")
    group = [1, 4, 5]
    kept = group_deviation(case.model, (inputs, labels), group, 0.3, **options | {"covariance": "kept"})
    both = group_deviation(case.model, (inputs, labels), group, 0.3, loss, "diagonal")
    assert not torch.allclose(kept.deviation, both.deviation)
    half = torch.stack([rows[i] for i in group]) / diagonal_of(case, loss).sqrt()
    expected = torch.stack([half[:, c] @ half[:, c].T @ error[group, c] for c in range(3)], dim=1)
    assert torch.allclose(kept.deviation, expected, rtol=1e-7)


def diagonal_of(case, loss: str) -> torch.Tensor:
    """The diagonal of the Gauss-Newton matrix of the sum of the losses, with delta = 0.3."""
    rows, curvatures = jacobians_and_curvatures(case.model, case.train[0], "cross_entropy")
    if loss != "cross_entropy":
        p = case.model(case.train[0]).detach().sigmoid()
        curvatures = (torch.ones_like(p) if loss == "mse" else p * (1 - p)).diag_embed()
    return sum((j.T @ c @ j).diagonal() for j, c in zip(rows, curvatures, strict=True)) + 0.3


def test_groups_of_a_linear_regression_are_exact():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(6, 1, bias=False).double()

    def ridge(x, y):
        return torch.linalg.solve(x.T @ x + 0.7 * torch.eye(6).double(), x.T @ y)

    model.weight.data = ridge(inputs, targets).T.clone()
    group, kept = torch.arange(5), torch.arange(20) >= 5
    found = group_deviation(model, (inputs, targets), group, 0.7, "mse", "full", "downdated")
    without = inputs[group] @ ridge(inputs[kept], targets[kept])
    assert torch.allclose(model(inputs[group]).detach() + found.deviation, without, rtol=1e-10, atol=1e-12)


def test_kronecker_groups_have_their_examples_variances_on_the_diagonal():
    case = next(case for case in model_cases() if case.name == "lenet5")
    single = memory_sensitivity(case.model, case.train, 0.3)
    one = group_deviation(case.model, case.train, [2], 0.3)
    assert torch.allclose(one.deviation[0], single.deviation[2], rtol=1e-8, atol=1e-12)


def test_class_losses_are_means_of_leave_one_out_losses():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    found = memory_sensitivity(case.model, case.train, 0.3)
    labels = case.train[1]
    losses = leave_one_class_out(found, labels, 5)
    for label in labels.unique():
        assert math.isclose(float(losses[label]), float(found.loo_loss[labels == label].mean()), rel_tol=1e-12)
    assert losses[4].isnan()


def test_the_curve_over_delta_is_that_of_real_leave_one_out_for_ridge_regression():
    """The estimate for every delta equals retraining without each example, and so does the choice of delta."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 12, generator=generator, dtype=torch.float64)
    targets = inputs[:, :2].sum(dim=1, keepdim=True) + torch.randn(24, 1, generator=generator, dtype=torch.float64)
    deltas = [0.1, 1.0, 10.0, 100.0]

    def build():
        model = nn.Linear(12, 1, bias=False).double()
        nn.init.zeros_(model.weight)
        return model

    recipe = Recipe(loss="mse", learning_rate=0.1, momentum=0.9, batch_size=24, epochs=600, schedule="constant")
    found = loo_curve(
        build, (inputs, targets), recipe, deltas, test=(inputs, targets), posterior="full", covariance="downdated"
    )
    for delta, loss in zip(deltas, found.loo_loss, strict=True):
        left_out = []
        for i in range(24):
            x, y = inputs[torch.arange(24) != i], targets[torch.arange(24) != i]
            weights = torch.linalg.solve(x.T @ x + delta * torch.eye(12).double(), x.T @ y)
            left_out.append(float(loss_values(inputs[i : i + 1] @ weights, targets[i : i + 1], "mse")))
        assert math.isclose(float(loss), sum(left_out) / 24, rel_tol=1e-6)
    assert found.best == deltas[int(found.loo_loss.argmin())]
    assert torch.allclose(found.test_loss, found.train_loss)


def test_bad_groups_and_curves_are_refused():
    case = model_cases()[0]
    with pytest.raises(InputError, match="empty"):
        group_deviation(case.model, case.train, [], 1.0)
    with pytest.raises(InputError, match="too large"):
        group_deviation(case.model, case.train, [0] * 3000, 1.0)
    with pytest.raises(InputError, match="kept"):
        group_deviation(case.model, case.train, [0], 1.0, covariance="none")
    with pytest.raises(InputError, match="at least one delta"):
        loo_curve(lambda: build_model("linear", 3, (5,)).double(), case.train, Recipe(epochs=1), [])
