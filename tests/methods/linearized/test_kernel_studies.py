import math

import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_influence import (
    ihvp_effects_in_kernel_regime,
    relu_ntk,
    sample_complexity,
)
from attribution_core.methods.linearized.kernel_studies import (
    complexity_by_influence,
    estimate_error,
    estimate_error_by_example,
    feature_density,
    marked_share_over_time,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from tests.cases import LINEAR_CASES
from tests.support.kernel_models import kernel_model, unit_vectors


def test_the_error_rate_follows_eqs_13_and_14_and_is_above_its_bound():
    kernel, cross, y, t, linear = kernel_model()
    decays, rates = [0.1, 1.0, 10.0], []
    for decay in decays:
        inverse = torch.linalg.inv(kernel + decay * torch.eye(15, dtype=torch.float64))
        fitted, outside = kernel @ inverse @ y - y, cross @ inverse @ y - t
        alpha = cross @ inverse
        estimate = (alpha * outside * fitted[:, 0]).T
        alone = fitted[:, 0] / (1 - (kernel @ inverse).diagonal())
        exact = (alpha * outside * alone + (alpha * alone).square() / 2).T
        rates.append((exact - estimate).abs().sum() / exact.abs().sum())
        by_example = (exact - estimate).abs().sum(dim=1) / exact.abs().sum(dim=1)
        assert torch.allclose(estimate_error_by_example(linear, decay), by_example, rtol=1e-8)
    error = estimate_error(linear, decays)
    assert torch.allclose(error.rate, torch.stack(rates), rtol=1e-8)
    least = torch.linalg.eigvalsh(kernel)[0]
    assert torch.allclose(error.lower_bound, least / (least + torch.tensor(decays, dtype=torch.float64)), rtol=1e-8)
    assert (error.rate > error.lower_bound).all()
    assert (error.rate.diff() < 0).all()


def test_a_cluster_is_denser_than_an_outlier():
    crowd = torch.nn.functional.normalize(unit_vectors(1) + 0.05 * unit_vectors(59, seed=1), dim=1)
    x = torch.cat([crowd, -unit_vectors(1)])
    zeros = torch.zeros(60, 1)
    linear = LinearizedModel.from_kernels(relu_ntk(x, x), relu_ntk(x, x), zeros, zeros, zeros, zeros)
    density = feature_density(linear, components=3)
    assert int(density.argmin()) == 59
    assert float(density.max()) == 1


def test_equal_examples_are_equally_dense():
    x, zeros = unit_vectors(1).expand(9, -1), torch.zeros(9, 1)
    linear = LinearizedModel.from_kernels(relu_ntk(x, x), relu_ntk(x, x), zeros, zeros, zeros, zeros)
    assert torch.equal(feature_density(linear), torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize("groups", [2, 5, 15])
def test_complexity_at_the_end_equals_equation_19(groups):
    kernel, _, y, _, linear = kernel_model(k=2)
    influence = torch.randn(15, generator=torch.Generator().manual_seed(7))
    members = [group.tolist() for group in influence.argsort().tensor_split(groups)]
    expected = sample_complexity(kernel, y, members)
    found = complexity_by_influence(linear, GradientDescent(1.0, math.inf), influence, groups)
    assert torch.allclose(found, expected, rtol=1e-8)
    with pytest.raises(InputError, match="and 1 groups"):
        complexity_by_influence(linear, GradientDescent(1.0, math.inf), influence, 1)


def test_the_share_is_one_where_only_the_marked_have_an_effect():
    linear = kernel_model()[-1]
    schedule = GradientDescent(0.5, 1)
    effects = linear.removal_effects(GradientDescent(0.5, 30)).abs()
    leaders = torch.zeros(15, dtype=torch.bool)
    leaders[effects.argmax(dim=0)] = True
    shares = marked_share_over_time(linear, schedule, [0, 30], leaders)
    assert float(shares[1]) == 1
    assert float(marked_share_over_time(linear, schedule, [30], ~leaders)[0]) == 0


def test_outputs_with_features_of_their_own_have_an_error_but_neither_bound_nor_density():
    linear = LINEAR_CASES[2].linear_model()
    error = estimate_error(linear, [0.5, 2.0])
    for decay, rate in zip([0.5, 2.0], error.rate, strict=True):
        result = ihvp_effects_in_kernel_regime(linear, decay)
        assert torch.allclose(rate, (result.exact - result.effects).abs().sum() / result.exact.abs().sum())
    assert error.lower_bound is None
    with pytest.raises(InputError, match="one feature row"):
        feature_density(linear)
