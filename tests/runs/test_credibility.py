"""Which effects removing one example can have."""

import math

import numpy as np
import pytest

from attribution_core.runs import CredibleEffects, Run, why_not_credible
from tests.support.sample_run import make_run


def test_an_effect_cannot_take_a_loss_below_zero_or_raise_it_beyond_all_others():
    losses, of_zeros = np.array([2.48, 0.0, 11.35]), np.full(3, math.log(10))
    credible = CredibleEffects.of_losses(losses, of_zeros)
    assert credible.highest == 11.35
    effects = np.array([[43.0, 0.5, 11.3], [-2.48, 0.0, -11.35], [-2.5, -0.01, 11.4], [math.nan, 11.36, 0.0]])
    expected = [[True, False, False], [False, False, False], [True, True, True], [False, True, False]]
    assert credible.excludes(effects).tolist() == expected
    assert credible.excludes(effects[:, 0], 0).tolist() == [True, False, True, False]
    assert bool(credible.excludes(np.array(43.0), 0))
    reason = why_not_credible("11.4 nats")
    assert reason.count(". ") == 0
    assert "below zero" in reason
    assert "11.4 nats" in reason


def test_where_all_losses_are_small_a_removal_may_undo_what_was_learned():
    credible = CredibleEffects.of_losses(np.full(4, 0.01), np.full(4, math.log(10)))
    assert credible.highest == pytest.approx(math.log(10))
    assert credible.excludes(np.array([2.3, 2.4, -0.01, -0.02])).tolist() == [False, True, False, True]


def test_a_run_keeps_the_range_of_its_effects_and_counts_those_beyond(tmp_path):
    run = Run.open(make_run(tmp_path / "digits", n=40))
    credible = run.credible_effects("hydra")
    m = run.effects("hydra").shape[1]
    assert credible.losses.tolist() == run.evaluation["loss"].head(m).tolist()
    assert run.share_not_credible("hydra") == credible.excludes(run.effects("hydra")[:]).mean() > 0
    assert run.credible_effects("ntk") is None
    assert run.share_not_credible("ntk") == 0
