"""Weights of a pool have the least loss of all that are not negative."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from attribution_core.methods.linearized.pooling import pool_weights, pooled


def _model(labels: Tensor, strength: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), 3, generator=generator, dtype=torch.float64)
    return (strength * one_hot(labels, 3) + noise).log_softmax(1)


def test_no_other_weights_have_a_lower_loss() -> None:
    labels = torch.arange(120) % 3
    equal = torch.full((120, 3), 1 / 3, dtype=torch.float64).log()
    models = [_model(labels, 1.0, 0), _model(labels, 0.6, 1), _model(labels, -0.5, 2), equal]
    weights = pool_weights(models, labels)
    assert weights[2] == pytest.approx(1e-3)  # it speaks against the labels, and its reverse is not to be had
    assert weights[3] == pytest.approx(1e-3)  # it tells nothing
    best = float(cross_entropy(pooled(models, weights), labels))
    for j in range(2):
        for change in (-0.05, 0.05):
            other = [weight + change * (j == i) for i, weight in enumerate(weights)]
            assert float(cross_entropy(pooled(models, other), labels)) > best
    assert best < min(float(cross_entropy(model, labels)) for model in models)


def test_a_pool_is_the_weighted_product_of_probabilities() -> None:
    labels = torch.arange(9) % 3
    first, second = _model(labels, 1.0, 0), _model(labels, 1.0, 1)
    expected = first.exp() ** 0.3 * second.exp() ** 1.2
    assert torch.allclose(pooled([first, second], [0.3, 1.2]).exp(), expected / expected.sum(1, keepdim=True))


def test_one_model_has_weight_one_and_perfect_ones_finite_weights() -> None:
    labels = torch.arange(9) % 3
    assert pool_weights([_model(labels, 1.0, 0)], labels) == [1.0]
    perfect = (50.0 * one_hot(labels, 3)).log_softmax(1)
    assert all(1e-3 <= weight <= 10 for weight in pool_weights([perfect, perfect], labels))
