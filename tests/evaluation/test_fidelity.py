import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import linear_datamodelling_score


def test_true_additive_effects_score_one_and_noise_scores_none():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    removed = torch.rand(200, 40, generator=generator) < 0.5
    losses = 3 + removed.double() @ effects
    assert torch.allclose(linear_datamodelling_score(effects, removed, losses), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(linear_datamodelling_score(-effects, removed, losses), -torch.ones(6, dtype=torch.float64))
    unrelated = torch.randn(40, 6, generator=generator)
    assert float(linear_datamodelling_score(unrelated, removed, losses).abs().max()) < 0.6


def test_what_does_not_vary_scores_nothing_and_shapes_are_checked():
    removed = torch.tensor([[True, False], [False, True], [True, True]])
    assert linear_datamodelling_score(torch.zeros(2, 1), removed, torch.rand(3, 1)).tolist() == [0.0]
    with pytest.raises(InputError, match="3 subsets or more"):
        linear_datamodelling_score(torch.zeros(2, 1), removed[:2], torch.rand(2, 1))
    with pytest.raises(InputError, match="given"):
        linear_datamodelling_score(torch.zeros(3, 1), removed, torch.rand(3, 1))
