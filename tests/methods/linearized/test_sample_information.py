import math

import pytest
import scipy.linalg
import torch

from attribution_core.errors import InputError
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from tests.cases import LINEAR_CASES, linear_case
from tests.support import reference

CASES = [case for case in LINEAR_CASES if "fewer" in case.name]  # the features span weight space


def explicit(case, schedule, covariance, sigma, rate, batch, floor):
    """Eq. 5 with explicit matrices in weight space, retraining without each example."""
    rows = case.train_jacobian.flatten(0, 1)
    changes = reference.weight_changes(case.train_jacobian, case.residuals, schedule)
    hessian = rows.T @ rows + schedule.weight_decay * torch.eye(rows.shape[1], dtype=torch.float64)
    if covariance == "isotropic":
        smoothing = sigma**2 * torch.eye(len(hessian), dtype=torch.float64)
    elif covariance == "langevin":
        smoothing = rate * sigma**2 / (2 * batch) * torch.linalg.inv(hessian)
    else:
        weights = reference.trained_weights(case.train_jacobian, case.residuals, schedule, len(case.residuals))
        errors = torch.einsum("nkp,p->nk", case.train_jacobian, weights) - case.residuals
        gradients = torch.einsum("nkp,nk->np", case.train_jacobian, errors)
        mean = gradients.mean(dim=0)
        noise = gradients.T @ gradients / len(gradients) - torch.outer(mean, mean)
        solved = scipy.linalg.solve_continuous_lyapunov(hessian.numpy(), (rate / batch * noise).numpy())
        smoothing = torch.from_numpy(solved)
        smoothing += floor * torch.linalg.eigvalsh(smoothing)[-1] * torch.eye(len(hessian), dtype=torch.float64)
    return 0.5 * (changes * torch.linalg.solve(smoothing, changes.T).T).sum(dim=1)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("covariance", ["isotropic", "langevin", "sgd"])
@pytest.mark.parametrize("steps", [300, math.inf])
def test_sample_information_equals_explicit_matrices(case, covariance, steps):
    schedule = GradientDescent(0.9 / case.largest, steps, 0.02 * case.largest)
    options = {"sigma": 0.7, "learning_rate": 0.03, "batch_size": 4}
    expected = explicit(case, schedule, covariance, 0.7, 0.03, 4, 1e-3)
    linear = case.linear_model()
    scores = sample_information(linear, schedule, covariance, **options, floor=1e-3)
    assert torch.allclose(scores, expected, rtol=1e-8, atol=1e-10 * float(expected.max()))


@pytest.mark.parametrize("covariance", ["isotropic", "langevin", "sgd"])
def test_shared_features_equal_the_full_kronecker_form(covariance):
    case = linear_case("one row", 20, 5, 1, 6)
    targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    zeros, identity = torch.zeros(20, 3), torch.eye(3, dtype=torch.float64)
    sides = zeros, zeros[:5], targets, targets[:5]
    schedule = GradientDescent(0.1, math.inf, 0.5)
    shared = LinearizedModel.from_jacobians(case.train_jacobian, case.evaluation_jacobian, *sides)
    full = LinearizedModel.from_jacobians(
        torch.kron(case.train_jacobian, identity[None]), torch.kron(case.evaluation_jacobian, identity[None]), *sides
    )
    scores = [sample_information(each, schedule, covariance, floor=1e-3) for each in (shared, full)]
    assert torch.allclose(*scores, rtol=1e-8)


def test_more_features_than_data_stay_finite():
    case = LINEAR_CASES[0]
    linear = case.linear_model()
    for covariance in ("isotropic", "langevin", "sgd"):
        scores = sample_information(linear, GradientDescent(0.01, math.inf, 0.1), covariance)
        assert torch.isfinite(scores).all()
        assert (scores > 0).all()


def test_bad_input_is_refused_in_a_sentence():
    case = LINEAR_CASES[0]
    linear = case.linear_model()
    with pytest.raises(InputError, match="no gradient noise"):
        sample_information(linear, GradientDescent(0.01, math.inf), "sgd")
    with pytest.raises(InputError, match="covariance must be"):
        sample_information(linear, GradientDescent(0.01, 10), "fisher")
    for name in ("sigma", "learning_rate", "batch_size", "floor"):
        with pytest.raises(InputError, match=f"{name} must be a positive number"):
            sample_information(linear, GradientDescent(0.01, 10), **{name: 0})


def test_a_mean_loss_gives_the_information_that_sgd_shows():
    """Half the squared distance of the means, in units of the spread of 20,000 trainings with independent batches."""
    generator = torch.Generator().manual_seed(0)
    n, batch, rate, runs = 20, 4, 0.03, 20_000
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -1.0], dtype=torch.float64) + torch.randn(n, generator=generator, dtype=torch.float64)
    weights = torch.zeros(runs, 2, dtype=torch.float64)
    for _ in range(300):
        chosen = torch.randint(0, n, (runs, batch), generator=generator)
        error = torch.einsum("rbd,rd->rb", x[chosen], weights) - y[chosen]
        weights -= rate * torch.einsum("rb,rbd->rd", error, x[chosen]) / batch
    schedule = GradientDescent(rate, math.inf, loss="mean")
    changes = reference.weight_changes(x[:, None], y[:, None], schedule)
    spread = torch.linalg.inv(weights.T.cov())
    zeros = torch.zeros(n, 1)
    linear = LinearizedModel.from_jacobians(x[:, None], x[:, None], zeros, zeros, y[:, None], y[:, None])
    scores = sample_information(linear, schedule, "sgd", learning_rate=rate, batch_size=batch)
    shown = 0.5 * torch.einsum("nd,de,ne->n", changes, spread, changes)
    assert torch.allclose(scores, shown, rtol=0.1)
