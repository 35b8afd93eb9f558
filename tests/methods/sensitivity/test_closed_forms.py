"""The memory-perturbation equation for exactly known removals, and its appendices C, D and E."""

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from attribution_core.errors import InputError
from attribution_core.methods.sensitivity.nonsmooth import deviation_from_losses
from attribution_core.methods.sensitivity.perturbation import sensitivity_from


def test_beta_bernoulli_is_exact():
    """Appendix C: the natural gradient of -log p(y_i) in (E log theta, E log(1 - theta)) is the exact deviation."""
    labels = torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.float64)

    def posterior(y):
        return torch.stack([2.0 + y.sum(), 3.0 + len(y) - y.sum()])

    for i in range(len(labels)):
        y = labels[i]
        alpha, beta = posterior(labels).requires_grad_()

        def means(a, b):
            return torch.stack([torch.digamma(a), torch.digamma(b)]) - torch.digamma(a + b)

        # Natural gradient: inverse Fisher matrix of the Beta distribution times the gradient in (alpha, beta).
        fisher = torch.stack(torch.autograd.functional.jacobian(means, (alpha, beta)), dim=1)
        expected_log = means(alpha, beta)
        loss = -(y * expected_log[0] + (1 - y) * expected_log[1])
        gradient = torch.stack(torch.autograd.grad(loss, [alpha, beta]))
        estimated = torch.linalg.solve(fisher, gradient)
        exact = posterior(torch.cat([labels[:i], labels[i + 1 :]])) - posterior(labels)
        assert torch.allclose(estimated, exact, rtol=1e-10, atol=1e-10)


def sparse_gp(x, y, likelihood, keep=None, steps=150):
    """Sparse variational Gaussian process by eqs. 38-40: m, Sigma and the rows a_i."""
    inducing = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def kernel(a, b):
        return torch.exp(-0.5 * (a[:, None] - b) ** 2)

    uu = kernel(inducing, inducing) + 1e-8 * torch.eye(7).double()
    rows = torch.linalg.solve(uu, kernel(inducing, x)).T
    noise = 1 - (rows * kernel(x, inducing)).sum(dim=1)
    used = torch.ones(len(x), dtype=torch.bool) if keep is None else keep
    prior = torch.linalg.inv(uu)
    mean, precision = torch.zeros(7).double(), prior.clone()
    for _ in range(steps if likelihood == "bernoulli" else 1):
        rate = 0.2 if likelihood == "bernoulli" else 1.0
        errors, curvatures = expectations(rows, mean, precision, noise, y, likelihood)
        a, e, b = rows[used], errors[used], curvatures[used]
        precision = (1 - rate) * precision + rate * (a.T @ (b[:, None] * a) + prior)
        mean = mean - rate * torch.linalg.solve(precision, a.T @ e + prior @ mean)
    return mean, torch.linalg.inv(precision), rows, expectations(rows, mean, precision, noise, y, likelihood)


def expectations(rows, mean, precision, noise, y, likelihood):
    """Eq. 40, by Gauss-Hermite quadrature."""
    f = rows @ mean
    if likelihood == "gaussian":
        return f - y, torch.ones_like(f)
    variance = (rows * torch.linalg.solve(precision, rows.T).T).sum(dim=1) + noise.clamp(min=0)
    nodes, weights = (torch.from_numpy(each) for each in hermegauss(30))
    sigmoid = (f[:, None] + variance.sqrt()[:, None] * nodes).sigmoid()
    weights = weights / weights.sum()
    return sigmoid @ weights - y, (sigmoid * (1 - sigmoid)) @ weights


def problem(likelihood):
    generator = torch.Generator().manual_seed(0)
    x = torch.sort(6 * torch.rand(25, generator=generator, dtype=torch.float64) - 3).values
    noise = torch.randn(25, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x) + 0.3 * noise
    return x, (y > 0).double() if likelihood == "bernoulli" else y


def removed(x, y, likelihood):
    """Change of every example's own marginal mean after fitting without the example."""
    mean, _, rows, _ = sparse_gp(x, y, likelihood)
    changes = []
    for i in range(len(x)):
        other, _, _, _ = sparse_gp(x, y, likelihood, keep=torch.arange(len(x)) != i)
        changes.append(rows[i] @ (other - mean))
    return torch.stack(changes)


def test_a_sparse_gaussian_process_with_gaussian_noise_is_exact():
    """Appendix D, conjugate: eq. 13 with the downdated covariance equals refitting without the example."""
    x, y = problem("gaussian")
    mean, covariance, rows, _ = sparse_gp(x, y, "gaussian")
    variance = (rows @ covariance * rows).sum(dim=1)
    outputs = (rows @ mean)[:, None]
    found = sensitivity_from(outputs, variance[:, None, None], y[:, None], "mse", "downdated")
    assert torch.allclose(found.deviation[:, 0], removed(x, y, "gaussian"), rtol=1e-8, atol=1e-10)


def test_a_sparse_gaussian_process_classifier_follows_its_variance_and_error():
    """Eq. 44 compared with refitting without each example."""
    x, y = problem("bernoulli")
    _, covariance, rows, (errors, _) = sparse_gp(x, y, "bernoulli")
    estimated = (rows @ covariance * rows).sum(dim=1) * errors
    real = removed(x, y, "bernoulli")
    assert float(torch.corrcoef(torch.stack([estimated, real]))[0, 1]) > 0.99


def test_the_hinge_loss_needs_no_derivative():
    """Appendix E, in closed form for a linear model: grad_m E[loss] = -y x Phi((1 - y x^T m) / sd)."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    labels = torch.where(inputs[:, 0] > 0, 1.0, -1.0).double()
    half = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    covariance, mean = 0.3 * (half @ half.T + torch.eye(3).double()), torch.tensor([1.0, -0.5, 0.2]).double()
    spread = (inputs @ covariance * inputs).sum(dim=1).sqrt()
    chance = torch.special.ndtr((1 - labels * (inputs @ mean)) / spread)
    exact = -(labels * chance)[:, None] * inputs @ covariance

    def hinge(weights):
        return (1 - labels * (weights @ inputs.T)).clamp(min=0)

    found, error = deviation_from_losses(mean, covariance, hinge, samples=200_000)
    assert float(((found - exact) / error).abs().max()) < 4.5
    assert float((found - exact).norm() / exact.norm()) < 0.01
    few, larger = deviation_from_losses(mean, covariance, hinge, samples=2000)
    assert float((larger / error).median()) == pytest.approx(10, rel=0.2)
    assert not torch.equal(few, found)
    with pytest.raises(InputError, match="four samples"):
        deviation_from_losses(mean, covariance, hinge, samples=2)
    with pytest.raises(InputError, match="positive definite"):
        deviation_from_losses(mean, -covariance, hinge)
