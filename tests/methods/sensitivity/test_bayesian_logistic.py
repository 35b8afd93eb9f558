import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from sklearn.datasets import load_digits

from attribution_core.errors import InputError
from attribution_core.methods.curvature.losses import expected_errors, prediction_errors
from attribution_core.methods.sensitivity.bayesian_logistic import bayesian_logistic_regression


def blobs(n=80, k=2, p=3):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(k, (n,), generator=generator)
    centers = 1.5 * torch.randn(k, p, generator=generator, dtype=torch.float64)
    return centers[labels] + torch.randn(n, p, generator=generator, dtype=torch.float64), labels


def with_constant(x):
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def gaussian_means(f, v, function):
    """Expectation of a function under N(f, v), by quadrature."""
    nodes, weights = (torch.from_numpy(each) for each in hermegauss(40))
    return function(f[:, None] + v.sqrt()[:, None] * nodes) @ (weights / weights.sum())


def test_without_samples_it_is_newtons_method():
    """At rates of one each step is a Newton step with the Hessian of the previous step."""
    x, y = blobs()
    found = bayesian_logistic_regression(
        (x, y), 2, 0.7, steps=12, batch_size=80, rates=(1.0, 1.0), precision_rate=1.0, samples=0
    )[12]
    rows = with_constant(x)
    probability = (rows @ found.mean[0]).sigmoid()
    gradient = rows.T @ (probability - y) + 0.7 * found.mean[0]
    hessian = rows.T @ ((probability * (1 - probability))[:, None] * rows) + 0.7 * torch.eye(4).double()
    assert float(gradient.abs().max()) < 1e-10
    assert torch.allclose(found.precision[0], hessian, rtol=1e-9)
    assert torch.allclose(found.outputs(x)[:, 0], rows @ found.mean[0])
    variances = (rows @ torch.linalg.inv(hessian) * rows).sum(dim=1)
    assert torch.allclose(found.variances(x)[:, 0], variances, rtol=1e-8)


def test_it_learns_the_variational_posterior():
    """At the fixed point the mean gradient vanishes and the precision is the mean Hessian, by quadrature (eq. 10)."""
    x, y = blobs()
    found = bayesian_logistic_regression(
        (x, y), 2, 0.7, steps=600, batch_size=80, rates=(0.3, 0.01), precision_rate=0.02, samples=40
    )[600]
    rows, v, f = with_constant(x), found.variances(x)[:, 0], found.outputs(x)[:, 0]
    error = gaussian_means(f, v, torch.sigmoid) - y
    curvature = gaussian_means(f, v, lambda g: g.sigmoid() * (1 - g.sigmoid()))
    gradient = rows.T @ error + 0.7 * found.mean[0]
    hessian = rows.T @ (curvature[:, None] * rows) + 0.7 * torch.eye(4).double()
    moved = torch.linalg.solve(hessian, gradient) * hessian.diagonal().sqrt()
    assert float(moved.abs().max()) < 0.05  # in standard deviations
    assert float((found.precision[0] - hessian).norm() / hessian.norm()) < 0.05


def test_sensitivities_of_digits_are_eq_18_and_grow_heavier_tails():
    digits = load_digits()
    data = torch.from_numpy(digits.data).double() / 16, torch.from_numpy(digits.target).long()
    looks = bayesian_logistic_regression(
        data, 10, 0.1, steps=60, rates=(0.5, 0.1), precision_rate=0.05, initial_precision=100.0, record=(2, 60)
    )
    assert list(looks) == [2, 60]
    assert float((looks[60].outputs(data[0]).argmax(dim=1) == data[1]).double().mean()) > 0.9
    shares = []
    for posterior in looks.values():
        found = posterior.sensitivity(data)
        v, p = posterior.variances(data[0]), found.outputs.softmax(dim=1)
        assert torch.allclose(found.deviation, v * found.error)
        change = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ (v * found.error)[:, :, None]
        assert torch.allclose(found.sensitivity, change[:, :, 0].abs().sum(dim=1))
        ordered = found.sensitivity.sort(descending=True).values
        shares.append(float(ordered[: len(ordered) // 50].sum() / ordered.sum()))
    assert shares[1] > 2 * shares[0]


def test_all_examples_are_about_as_sensitive_after_five_of_the_default_steps():
    """Figure 6(a) begins flat; from a precision of delta, 2% of the examples have most of the sensitivity."""
    digits = load_digits()
    data = torch.from_numpy(digits.data).double() / 16, torch.from_numpy(digits.target).long()
    shares = []
    for options in ({}, {"initial_precision": 0.1}):
        posterior = bayesian_logistic_regression(data, 10, 0.1, steps=5, **options)[5]
        ordered = posterior.sensitivity(data).sensitivity.sort(descending=True).values
        shares.append(float(ordered[: len(ordered) // 50].sum() / ordered.sum()))
    assert shares[0] < 0.04
    assert shares[1] > 0.5


def test_expected_errors_equal_quadrature():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    variance = torch.rand(6, 1, 1, generator=generator, dtype=torch.float64) * 4
    targets = torch.tensor([0, 1, 0, 1, 1, 0])
    found = expected_errors(outputs, variance, targets, "cross_entropy", samples=40_000)
    exact = gaussian_means(outputs[:, 0], variance[:, 0, 0], torch.sigmoid) - targets
    assert torch.allclose(found[:, 0], exact, atol=0.01)
    assert torch.equal(expected_errors(outputs, variance, targets, "binary_cross_entropy", samples=40_000), found)
    assert torch.equal(
        expected_errors(outputs, variance, targets, "mse", 10), prediction_errors(outputs, targets, "mse")
    )
    several = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    none = torch.zeros(4, 3, 3).double()
    labels = torch.tensor([0, 1, 2, 0])
    assert torch.allclose(
        expected_errors(several, none, labels, "cross_entropy", 10), prediction_errors(several, labels, "cross_entropy")
    )


def test_bad_options_are_refused():
    for options in (
        {"classes": 1},
        {"delta": 0.0},
        {"precision_rate": 0.0},
        {"initial_precision": 0.0},
        {"rates": (0.1, -0.1)},
    ):
        with pytest.raises(InputError, match="positive"):
            bayesian_logistic_regression(blobs(), **{"classes": 2, "delta": 1.0, **options})
