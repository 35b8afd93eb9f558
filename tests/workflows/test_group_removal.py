"""A group that is gone: a linearized model that never saw it, sums of effects, and what retraining measures."""

import shutil

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.runs.names import LIVE_MODEL_FILE
from attribution_core.runs.retraining import measured_without
from attribution_core.workflows.group_removal import GroupEstimator, verify_group, verify_groups
from attribution_core.workflows.live_information import LiveInformation
from tests.support.scored import copy_to_change, quick


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return ac.score(quick(tmp_path_factory.mktemp("removal"), max_train=120))


@pytest.fixture
def run(scored, tmp_path):
    return copy_to_change(scored, tmp_path)


def test_the_groups_own_examples_lose_what_memory_perturbation_says(scored):
    own = GroupEstimator.open(scored).without([3, 4, 8]).own
    table = scored.examples.iloc[[3, 4, 8]]
    assert own is not None
    assert own.loss == pytest.approx(table["loss"].mean())
    assert own.loss_without == pytest.approx(table["loo_loss"].mean())
    assert own.moved == pytest.approx(table["sensitivity"].mean())
    assert own.loss_without > own.loss


@pytest.mark.parametrize("size", [1, 7, 80])
def test_the_linearized_model_is_one_that_never_saw_the_group(scored, size):
    group = torch.randperm(120, generator=torch.Generator().manual_seed(size))[:size].tolist()
    found = GroupEstimator.open(scored).without(group)
    information = LiveInformation.open(scored, exact=True)
    linear, schedule = information.linear, information.schedule
    kept = torch.tensor([row for row in range(120) if row not in group])
    before, after = linear.predictions(schedule), linear.trained_on(kept).predictions(schedule)
    loss = [(each - linear.evaluation_targets).square().sum(dim=1) / 2 for each in (before, after)]
    assert np.allclose(found.changes["linearized"], loss[1] - loss[0], rtol=1e-6, atol=1e-9)
    labels = linear.evaluation_targets.argmax(dim=1)
    right = [float((each.argmax(dim=1) == labels).double().mean()) for each in (before, after)]
    assert found.accuracy == pytest.approx(tuple(right))
    assert found.flipped.tolist() == torch.nonzero(before.argmax(1) != after.argmax(1))[:, 0].tolist()


def test_effects_of_single_examples_are_summed(scored):
    found = GroupEstimator.open(scored).without([5, 2, 9])
    for method in ("influence", "ntk", "hydra"):
        assert np.allclose(found.changes[method], scored.effects(method)[:][[2, 5, 9]].sum(axis=0), atol=1e-7)


@pytest.mark.parametrize("group", [[], [3, 3], list(range(120)), [120], [-1]])
def test_what_is_no_group_is_refused(scored, group):
    with pytest.raises(InputError):
        GroupEstimator.open(scored).without(group)


def test_without_a_linearized_model_sums_remain(run):
    (run.path / LIVE_MODEL_FILE).unlink()
    found = GroupEstimator.open(run).without([1])
    assert set(found.changes) == {"influence", "ntk", "hydra"}
    assert found.accuracy is None
    shutil.rmtree(run.path / "effects")
    with pytest.raises(InputError, match="keeps no linearized model"):
        GroupEstimator.open(ac.Run.open(run.path))


def test_retraining_measures_a_group(run):
    group = [4, 40, 100]
    assert measured_without(run.path, group) is None
    verify_group(run.path, [100, 4, 40], seeds=2)
    assert measured_without(run.path, [4, 40]) is None
    found = measured_without(run.path, group)
    table = run.retraining
    whole, without = (table[table["removed"].map(len) == size].sort_values("seed") for size in (0, 3))
    expected = np.stack(without["losses"].to_numpy()) - np.stack(whole["losses"].to_numpy())
    assert np.allclose(found.changes, expected, atol=1e-6)
    assert np.allclose(found.accuracy, np.stack([whole["accuracy"], without["accuracy"]], axis=1))
    verify_group(run.path, group, seeds=3)
    assert len(measured_without(run.path, group).changes) == 3
    assert len(ac.Run.open(run.path).retraining) == 6  # two were there


def test_random_groups_tell_how_far_estimates_agree(run):
    found = verify_groups(run.path, groups=4, sizes=(3, 30), seeds=2)
    assert {(each.size, each.method) for each in found} == {
        (size, method) for size in (3, 30) for method in ("linearized", "influence", "ntk", "hydra")
    }
    by_name = {(each.size, each.method): each for each in found}
    # By hand, for one of them: from the table that retraining wrote.
    table = run.retraining
    estimator, estimates, truths = GroupEstimator.open(run), [], []
    whole = table[table["removed"].map(len) == 0].set_index("seed")["losses"]
    for group in {tuple(removed) for removed in table["removed"] if len(removed) == 30}:
        rows = table[table["removed"].map(tuple) == group].set_index("seed")["losses"]
        truths.append(np.mean([rows[seed] - whole[seed] for seed in whole.index], axis=0))
        estimates.append(estimator.without(group).changes["influence"])
    expected = np.corrcoef(np.ravel(estimates), np.ravel(truths))[0, 1]
    assert by_name[30, "influence"].pairs.pearson.value == pytest.approx(expected, abs=1e-5)
    expected = np.corrcoef(np.mean(estimates, axis=1), np.mean(truths, axis=1))[0, 1]
    assert by_name[30, "influence"].means.pearson.value == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="at least 3"):
        verify_groups(run.path, groups=2)


def test_from_the_command_line(run, capsys):
    ids = run.examples["id"].iloc[[3, 17]].tolist()
    assert main(["without", str(run.path), *ids]) == 0
    printed = capsys.readouterr().out
    assert "Validation accuracy of the linearized model" in printed
    assert "Measured by retraining" not in printed
    assert main(["without", str(run.path), *ids, "--verify"]) == 0
    assert "Measured by retraining, 2 seeds" in capsys.readouterr().out
    assert main(["without", str(run.path), "--groups", "3", "--seeds", "1", "--processes", "1"]) == 0
    assert "3 random groups of each size" in capsys.readouterr().out
    for wrong, why in (([], "Give either the ids"), (["nobody"], "no training example nobody")):
        assert main(["without", str(run.path), *wrong]) == 2
        assert why in capsys.readouterr().err
