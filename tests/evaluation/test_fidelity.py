import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import (
    ceiling_between_seeds,
    fidelity,
    fidelity_of_strongest,
    lds_with_interval,
    linear_datamodelling_score,
)


def test_true_additive_effects_score_one_and_noise_scores_none():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    removed = torch.rand(200, 40, generator=generator) < 0.5
    losses = 3 + removed.double() @ effects
    assert torch.allclose(linear_datamodelling_score(effects, removed, losses), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(linear_datamodelling_score(-effects, removed, losses), -torch.ones(6, dtype=torch.float64))
    unrelated = torch.randn(40, 6, generator=generator)
    assert float(linear_datamodelling_score(unrelated, removed, losses).abs().max()) < 0.6


def test_constant_values_score_zero_and_shapes_are_checked():
    removed = torch.tensor([[True, False], [False, True], [True, True]])
    assert linear_datamodelling_score(torch.zeros(2, 1), removed, torch.rand(3, 1)).tolist() == [0.0]
    with pytest.raises(InputError, match="3 subsets or more"):
        linear_datamodelling_score(torch.zeros(2, 1), removed[:2], torch.rand(2, 1))
    with pytest.raises(InputError, match="given"):
        linear_datamodelling_score(torch.zeros(3, 1), removed, torch.rand(3, 1))


def test_correlations_are_scipys_and_intervals_hold_them():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(30, 8, generator=generator)
    real = predicted + torch.randn(30, 8, generator=generator)
    found = fidelity(predicted, real)
    assert found.pearson.value == pytest.approx(pearsonr(predicted.flatten(), real.flatten())[0])
    assert found.spearman.value == pytest.approx(spearmanr(predicted.flatten(), real.flatten())[0])
    for each in (found.pearson, found.spearman):
        assert -1 <= each.low < each.value < each.high <= 1
    assert found.examples == 30
    assert fidelity(predicted, predicted).pearson.low == pytest.approx(1.0)
    fewer = fidelity(predicted[:6], real[:6]).pearson
    assert fewer.high - fewer.low > found.pearson.high - found.pearson.low


def test_pairs_of_one_example_are_drawn_together():
    """Eight copies of each pair carry no more information than one."""
    generator = torch.Generator().manual_seed(1)
    predicted = torch.randn(20, generator=generator)
    real = predicted + torch.randn(20, generator=generator)
    one, copied = fidelity(predicted, real), fidelity(*(each[:, None].expand(20, 8) for each in (predicted, real)))
    assert copied.pearson.low == pytest.approx(one.pearson.low)


def test_an_interval_covers_the_truth_about_as_often_as_it_claims():
    generator = torch.Generator().manual_seed(2)
    covered = 0
    for trial in range(100):
        values = torch.randn(2, 40, generator=generator)
        found = fidelity(values[0], 0.6 * values[0] + 0.8 * values[1], resamples=200, seed=trial).pearson
        covered += found.low <= 0.6 <= found.high
    assert 85 <= covered <= 99


def test_fidelity_refuses_effects_that_cannot_be_compared():
    with pytest.raises(InputError, match="three examples"):
        fidelity(torch.rand(2), torch.rand(2))
    with pytest.raises(InputError, match="given"):
        fidelity(torch.rand(4, 2), torch.rand(4, 3))
    with pytest.raises(InputError, match="finite"):
        fidelity(torch.tensor([1.0, 2.0, torch.nan]), torch.rand(3))
    assert fidelity(torch.zeros(4), torch.rand(4)).pearson.value == 0.0


def test_the_interval_of_the_lds_holds_it():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    removed = torch.rand(50, 40, generator=generator) < 0.5
    losses = removed.double() @ effects + 3 * torch.randn(50, 6, generator=generator)
    found = lds_with_interval(effects, removed, losses)
    assert found.value == pytest.approx(float(linear_datamodelling_score(effects, removed, losses).mean()))
    assert found.low < found.value < found.high


def test_the_ceiling_is_the_score_that_the_truth_itself_would_reach():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(400, 3, generator=generator)
    noisy = truth + 0.7 * torch.randn(3, 400, 3, generator=generator)
    reached = sum(float(spearmanr(noisy.mean(dim=0)[:, j], truth[:, j])[0]) for j in range(3)) / 3
    assert ceiling_between_seeds(noisy) == pytest.approx(reached, abs=0.02)
    assert ceiling_between_seeds(noisy[:1]) is None
    assert ceiling_between_seeds(torch.randn(2, 400, generator=generator)) < 0.35


def test_the_strongest_pairs_are_those_of_the_largest_predictions():
    """A tenth of the pairs have effects and the others are noise, as between most examples."""
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(20, 100, generator=generator) * (torch.rand(20, 100, generator=generator) < 0.1)
    real = effects + 0.3 * torch.randn(2, 20, 100, generator=generator)
    found = fidelity_of_strongest(effects + 0.01 * torch.randn(20, 100, generator=generator), real, 0.05)
    assert found.pairs == 100
    order = effects.abs().flatten().argsort(descending=True)[:100]
    expected = spearmanr(effects.flatten()[order], real.mean(dim=0).flatten()[order])[0]
    assert found.spearman == pytest.approx(expected, abs=0.02)
    assert found.spearman > 0.85
    assert found.signs > 0.95
    assert found.ceiling is not None
    assert found.spearman <= found.ceiling + 0.05
    assert fidelity(effects, real.mean(dim=0)).spearman.value < 0.5
    few = fidelity_of_strongest(effects[:3, :4], real[:1, :3, :4])
    assert (few.pairs, few.ceiling) == (10, None)
