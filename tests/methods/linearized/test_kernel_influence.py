import math

import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_influence import (
    ihvp_effects_in_kernel_regime,
    relu_ntk,
    require_marks,
    sample_complexity,
)
from attribution_core.methods.linearized.over_time import LargestEffects
from attribution_core.methods.linearized.schedule import GradientDescent
from tests.cases import LINEAR_CASES, linear_case
from tests.support.kernel_models import kernel_model, unit_vectors


def test_the_kernel_is_the_mean_over_random_neurons():
    x, y = unit_vectors(4), 2 * unit_vectors(3, seed=1)
    weights = torch.randn(400_000, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    active = ((x @ weights.T) >= 0).double() @ ((y @ weights.T) >= 0).double().T / len(weights)
    assert torch.allclose(relu_ntk(x, y), (x @ y.T) * active, atol=5e-3)


def test_the_kernel_is_exact_at_equal_opposite_and_zero_inputs():
    x = unit_vectors(5)
    assert torch.allclose(relu_ntk(x, x).diagonal(), torch.full((5,), 0.5, dtype=torch.float64), rtol=1e-14)
    assert torch.allclose(relu_ntk(x, -x).diagonal(), torch.zeros(5, dtype=torch.float64), atol=1e-7)
    assert torch.equal(relu_ntk(torch.zeros(1, 6), x), torch.zeros(1, 5, dtype=torch.float64))
    nearly = x + 1e-9 * unit_vectors(5, seed=4)
    cosine = (x * nearly).sum(dim=1).clamp(max=1)
    assert torch.allclose(relu_ntk(x, nearly).diagonal(), cosine * 0.5, atol=1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_influence_at_the_end_equals_the_block_inverse(weight_decay):
    """Eqs. 8 and 9 in explicit form."""
    kernel, cross, y, t, linear = kernel_model()
    inverse = torch.linalg.inv(kernel + weight_decay * torch.eye(15, dtype=torch.float64))
    before = 0.5 * (cross @ inverse @ y - t).square().sum(dim=1)
    effects = []
    for i in range(15):
        removed = inverse - torch.outer(inverse[:, i], inverse[i]) / inverse[i, i]
        effects.append(0.5 * (cross @ removed @ y - t).square().sum(dim=1) - before)
    expected = torch.stack(effects)
    value = linear.removal_effects(GradientDescent(1.0, math.inf, weight_decay))
    assert torch.allclose(value, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize("k", [1, 3])
def test_the_classical_estimate_and_theorem_3(k):
    kernel, cross, y, t, linear = kernel_model(k=k)
    decay = 0.2
    inverse = torch.linalg.inv(kernel + decay * torch.eye(15, dtype=torch.float64))
    alpha = cross @ inverse  # [m, n]
    expected = (alpha * ((alpha @ y - t) @ (kernel @ inverse @ y - y).T)).T
    result = ihvp_effects_in_kernel_regime(linear, decay)
    assert torch.allclose(result.effects, expected, rtol=1e-8, atol=1e-10)
    assert torch.allclose(result.exact, linear.removal_effects(GradientDescent(1.0, math.inf, decay)), rtol=1e-10)
    error = (result.exact - result.effects).abs()
    assert (error >= result.lower_bound - 1e-12).all()
    assert (result.lower_bound > 0).any()  # the bound is not void everywhere


def test_the_classical_estimate_for_outputs_with_their_own_features():
    """Eq. 12 with the explicit Hessian of the linear model."""
    case, decay = LINEAR_CASES[3], 0.5
    linear = case.linear_model()
    rows = case.train_jacobian.flatten(0, 1)
    hessian = rows.T @ rows + decay * torch.eye(rows.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(hessian, rows.T @ case.residuals.flatten())
    errors = torch.einsum("nkp,p->nk", case.train_jacobian, weights) - case.residuals
    outside = torch.einsum("mkp,p->mk", case.evaluation_jacobian, weights) + case.evaluation_outputs
    gradients = torch.einsum("nkp,nk->np", case.train_jacobian, errors)
    pulled = torch.einsum("mkp,mk->mp", case.evaluation_jacobian, outside - case.evaluation_targets)
    result = ihvp_effects_in_kernel_regime(linear, decay)
    assert torch.allclose(result.effects, gradients @ torch.linalg.solve(hessian, pulled.T), rtol=1e-8)
    assert result.lower_bound is None


def test_a_singular_kernel_bounds_nothing():
    case = linear_case("fewer features", 30, 5, 1, 8)
    linear = case.linear_model()
    assert (ihvp_effects_in_kernel_regime(linear, 0.1).lower_bound <= 0).all()


@pytest.mark.parametrize("k", [1, 2])
def test_complexity_equals_a_new_factorization(k):
    kernel, _, y, _, _ = kernel_model(k=k)
    groups = [[0], [3, 7, 9], list(range(10))]

    def norm(kept):
        return (y[kept] * torch.linalg.solve(kernel[kept][:, kept], y[kept])).sum().sqrt()

    everyone = list(range(15))
    expected = [norm(everyone) - norm([i for i in everyone if i not in group]) for group in groups]
    assert torch.allclose(sample_complexity(kernel, y, groups), torch.stack(expected), rtol=1e-8)


def test_shares_count_the_leaders_of_each_evaluation_example():
    effects = torch.tensor([[3.0, 0.1], [-5.0, 0.2], [1.0, -0.3]])
    marked = torch.tensor([False, True, False])
    shares = {}
    for top in (1, 2, 3):
        largest = LargestEffects(top)
        for row in range(3):
            largest.add(row, effects[row : row + 1])
        shares[top] = float(marked[largest.rows].double().mean())
    assert shares == {1: 0.5, 2: 0.5, 3: pytest.approx(1 / 3)}


def test_bad_input_is_refused_in_a_sentence():
    kernel, _, y, _, linear = kernel_model()
    with pytest.raises(InputError, match="positive weight decay"):
        ihvp_effects_in_kernel_regime(linear, 0.0)
    with pytest.raises(InputError, match="not positive definite"):
        sample_complexity(torch.ones(15, 15), y, [[0]])
    with pytest.raises(InputError, match=r"of 15 targets must be \[15, 15\]"):
        sample_complexity(kernel[:4], y, [[0]])
    with pytest.raises(InputError, match="indices from 0 to 14"):
        sample_complexity(kernel, y, [[15]])
    with pytest.raises(InputError, match="from 1 to 3"):
        require_marks(3, torch.zeros(3, dtype=torch.bool), top=4)
