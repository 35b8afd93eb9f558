"""Contributions averaged over several trainings of a run."""

import shutil

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.methods.hydra.seeds import hydra_over_seeds
from attribution_core.progress import listening
from attribution_core.runs.names import CONTRIBUTIONS_FILE
from attribution_core.runs.schema import CONTRIBUTION_SPREAD
from attribution_core.runs.verification import read_verification
from attribution_core.training import Recipe
from attribution_core.workflows import contributions as module
from attribution_core.workflows.contributions import average_contributions
from tests.support.scored import QUICK, copy_to_change, digits_as_scored, quick

LEAN = {"sensitivity": "off", "influence": "off", "max_train": 90}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return ac.score(quick(tmp_path_factory.mktemp("averaged"), **LEAN))


@pytest.fixture
def run(scored, tmp_path):
    return copy_to_change(scored, tmp_path)


def build(seed):
    return ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,), seed=seed)


def test_everything_of_the_contributions_is_their_mean(run):
    first, by_class, seen = run.examples["contribution"].to_numpy(), of_classes(run), []
    with listening(lambda *step: seen.append(step[2])):
        found = average_contributions(run.path, 3)
    side, evaluation = digits_as_scored("train", "validation", max_train=90)
    after, expected = ac.Run.open(run.path), hydra_over_seeds(build, side, QUICK, evaluation, 3)
    assert np.allclose(after.effects("hydra")[:], expected.effect, rtol=1e-3, atol=1e-6)
    assert np.allclose(after.evolution("contribution")[1][:], expected.by_epoch, rtol=1e-3, atol=1e-6)
    mean = after.examples["contribution"].to_numpy()
    assert np.allclose(mean, expected.effect.mean(dim=1), rtol=1e-3, atol=1e-6)
    singles = [first, *(_one(seed) for seed in (1, 2))]
    assert np.allclose(after.examples[CONTRIBUTION_SPREAD], np.std(singles, axis=0, ddof=1), rtol=1e-3, atol=1e-6)
    assert not np.allclose(of_classes(after), by_class)
    assert after.manifest.details["contribution"]["route"].endswith("from every pair; mean over 3 trainings")
    assert (found.trainings, found.low < found.high) == (3, True)
    assert found.spread == pytest.approx(float(np.median(after.examples[CONTRIBUTION_SPREAD])), rel=0.1)
    assert any(what.startswith("training 2 of 3: ") for what in seen)
    assert (after.scores, after.groups) == (run.scores, [])  # the spread is neither a score nor a group


def of_classes(run):
    return run.class_effects.query("method == 'hydra'")["effect"].to_numpy()


def _one(seed):
    side, evaluation = digits_as_scored("train", "validation", max_train=90)
    trajectory = ac.train(build(seed), side, QUICK.model_copy(update={"seed": seed}))
    return ac.hydra(trajectory, evaluation).effect.mean(dim=1).numpy()


def test_what_was_trained_is_not_trained_again(run, monkeypatch):
    trainings, train, before = [], module.train, run.examples["contribution"]

    def counted(*arguments, **options):
        trainings.append(arguments[2].seed)
        if len(trainings) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(module, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        average_contributions(run.path, 4)
    stopped = ac.Run.open(run.path)
    assert stopped.examples["contribution"].equals(before)  # as it was, until all are done
    assert average_contributions(run.path, 4).trainings == 4
    assert trainings == [1, 2, 2, 3]
    resumed = ac.Run.open(run.path).examples
    shutil.rmtree(run.path / "effects")  # what follows reads the average alone
    assert average_contributions(run.path, 3).trainings == 4
    assert trainings == [1, 2, 2, 3]
    assert ac.Run.open(run.path).examples["contribution"].equals(resumed["contribution"])
    singles = [before.to_numpy(), *(_one(seed) for seed in (1, 2, 3))]
    assert np.allclose(resumed["contribution"], np.mean(singles, axis=0), rtol=1e-3, atol=1e-6)


def test_exact_contributions_of_adam_are_averaged(tmp_path):
    recipe = Recipe(epochs=1, optimizer="adam", learning_rate=0.01)
    run = ac.score(quick(tmp_path, recipe=recipe, **LEAN))
    first = torch.tensor(run.examples["contribution"].to_numpy())
    average_contributions(run.path, 2)
    after = ac.Run.open(run.path)
    side, evaluation = digits_as_scored("train", "validation", max_train=90)
    trajectory = ac.train(build(1), side, recipe.model_copy(update={"seed": 1}))
    second = ac.hydra(trajectory, evaluation, hessian=True, objective="mean").effect.double()
    expected = (first + second) / 2
    assert np.allclose(after.examples["contribution"], expected, rtol=1e-3, atol=1e-6)
    assert after.manifest.details["contribution"]["route"].endswith("on the mean alone; mean over 2 trainings")
    assert "hydra" not in after.effect_methods


def test_what_verification_said_before_is_gone(run):
    ac.verify(run.path, examples=3, halves=0, seeds=1)
    average_contributions(run.path, 2)
    after = ac.Run.open(run.path)
    assert "ntk" in after.manifest.details["verification"]["methods"]
    assert not {"hydra", "contribution"} & set(after.manifest.details["verification"]["methods"])
    assert not {"hydra", "contribution"} & set(read_verification(run.path)["method"])


def test_from_the_command_line(run, capsys):
    assert main(["contributions", str(run.path), "--seeds", "2"]) == 0
    assert "means over 2 trainings" in capsys.readouterr().out
    assert (run.path / CONTRIBUTIONS_FILE).is_file()
    assert main(["contributions", str(run.path), "--seeds", "1"]) == 2


def test_a_run_without_contributions_says_why(tmp_path):
    run = ac.score(quick(tmp_path, contributions="off", **LEAN))
    with pytest.raises(InputError, match="no contributions to average: turned off"):
        average_contributions(run.path, 2)
    with pytest.raises(InputError, match="two or more"):
        average_contributions(run.path, 1)
