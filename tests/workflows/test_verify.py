"""Test verifying a run by real retraining, from Python and from the command line."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.evaluation.retraining import Retrained
from attribution_core.progress import listening
from attribution_core.runs.names import RETRAINING_FILE
from attribution_core.runs.retraining import read_retraining_summary
from attribution_core.runs.verification import read_verification
from attribution_core.training import loss_values
from attribution_core.workflows import verify as verification
from attribution_core.workflows.verify import PREDICTED_OUTCOMES, chosen_examples, retraining_outcomes, verify
from tests.support.scored import copy_to_change, quick


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return ac.score(quick(tmp_path_factory.mktemp("verified"), max_train=120))


@pytest.fixture
def run(scored, tmp_path):
    return copy_to_change(scored, tmp_path)


def test_verification_records_how_far_each_score_can_be_trusted(run):
    found = verify(run.path, examples=6, halves=4, seeds=2)
    assert set(found.methods) == set(PREDICTED_OUTCOMES)
    for name, method in found.methods.items():
        assert method.single.examples == 6
        assert method.single.pearson.low <= method.single.pearson.value <= method.single.pearson.high
        assert 0 <= method.ceiling <= 1
        assert (method.lds is not None) == (name in ("influence", "hydra", "ntk", "contribution"))
        assert (method.strongest is not None) == (name in ("influence", "hydra", "ntk"))
    details = ac.Run.open(run.path).manifest.details["verification"]
    assert details["methods"]["fsi"]["single"]["spearman"]["value"] == found.methods["fsi"].single.spearman.value
    assert len(details["chosen"]) == 6
    table = run.retraining
    assert len(table) == 2 * (1 + 6 + 4)
    trainings = read_retraining_summary(run.path)
    assert trainings["removed"].value_counts().to_dict() == {0: 2, 1: 12, 60: 8}
    assert trainings["seconds"].tolist() == table["seconds"].tolist()
    assert ac.Run.open(run.path).status == "complete"


def test_the_points_are_predicted_and_actual_effects(run):
    assert read_verification(run.path).empty
    found = verify(run.path, examples=6, halves=0, seeds=2)
    points = read_verification(run.path)
    chosen = ac.Run.open(run.path).manifest.details["verification"]["chosen"]
    assert set(points["method"]) == set(found.methods)
    for name, of in points.groupby("method"):
        assert of["row"].tolist() == chosen
        pearson = np.corrcoef(of["estimate"], of["truth"])[0, 1]
        assert found.methods[name].by_example.pearson.value == pytest.approx(pearson)
        assert of["spread"].gt(0).all()
    fsi = points[points["method"] == "fsi"]
    assert fsi["estimate"].tolist() == run.examples["fsi"][chosen].tolist()
    influence = points[points["method"] == "influence"].reset_index(drop=True)
    assert np.allclose(influence["estimate"], np.asarray(run.effects("influence")[:])[chosen].mean(axis=1), atol=1e-9)
    table = run.retraining
    by_seed = []
    for seed in (0, 1):
        of_seed = table[(table["seed"] == seed) & table["keeps_places"]]
        losses = {removed: row.mean() for removed, row in zip(of_seed["removed"], of_seed["losses"], strict=True)}
        by_seed.append([losses[(i,)] - losses[()] for i in chosen])
    assert np.allclose(influence["truth"], np.mean(by_seed, axis=0), atol=1e-6)
    assert np.allclose(influence["spread"], np.std(by_seed, axis=0, ddof=1), atol=1e-6)
    verify(run.path, examples=4, halves=0, seeds=1)
    points = read_verification(run.path)
    assert len(points) == 4 * len(found.methods)
    assert points["spread"].isna().all()


def test_actual_effects_follow_from_the_retrainings():
    generator = torch.Generator().manual_seed(0)
    chosen, labels = [4, 1], torch.tensor([0, 1, 2, 0, 1])
    own = [[torch.randn(5, 3, generator=generator) for _ in range(2)]]
    own += [[torch.randn(1, 3, generator=generator) for _ in range(2)] for _ in chosen]
    ones = Retrained(
        torch.rand(3, 2, 7, generator=generator),
        torch.zeros(3, 2),
        torch.rand(3, 2, 6, 3, generator=generator),
        own,
        torch.zeros(3, 2),
    )
    real = retraining_outcomes(ones, chosen, labels, "cross_entropy")
    seed, e = 1, 0  # example 4
    assert torch.allclose(real["loss_change"][seed, e], ones.losses[1, seed] - ones.losses[0, seed])
    assert torch.allclose(real["mean_loss_change"][seed, e], (ones.losses[1, seed] - ones.losses[0, seed]).mean())
    moved = (ones.outputs[1, seed] - ones.outputs[0, seed]).square().sum(dim=1).mean() / 2
    assert torch.allclose(real["output_change"][seed, e].float(), moved)
    before, after = own[0][seed][[4]], own[1][seed]
    losses = [loss_values(each, labels[[4]], "cross_entropy") for each in (before, after)]
    assert torch.allclose(real["own_loss_change"][seed, e].float(), losses[1] - losses[0])
    assert torch.allclose(real["own_loss"][seed, e].float(), losses[1])
    probabilities = (after.softmax(dim=1) - before.softmax(dim=1)).abs().sum()
    assert torch.allclose(real["own_probability_change"][seed, e].float(), probabilities)


def test_more_examples_start_with_the_same_ones_and_half_are_the_strongest(run):
    few, many = chosen_examples(run, 6), chosen_examples(run, 20)
    assert many[:6] == few
    assert len(set(many)) == 20
    strength = run.examples[["fsi", "self_influence"]].rank().mean(axis=1)
    assert strength[many[1::2]].mean() > strength.mean()


def test_a_second_verification_trains_only_what_is_missing(run, monkeypatch):
    first = verify(run.path, examples=4, halves=0, seeds=1)
    assert first.lds_ceiling is None
    assert all(method.lds is None and method.ceiling is None for method in first.methods.values())
    asked = []
    real = verification.retrain_without

    def recorded(*arguments, **options):
        with listening(lambda *now: asked.append(now)):
            return real(*arguments, **options)

    monkeypatch.setattr(verification, "retrain_without", recorded)
    verify(run.path, examples=5, halves=0, seeds=1)
    assert asked == [(6, 6, "retraining")]


def test_a_verification_that_was_killed_resumes(run, capsys):
    arguments = ["verify", str(run.path), "--examples", "40", "--halves", "0", "--processes", "2"]
    command = [sys.executable, "-m", "attribution_core.cli.main", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    file, deadline = run.path / RETRAINING_FILE, time.monotonic() + 120
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = ac.Run.open(run.path).retraining
    assert 1 <= len(kept) < 82
    assert main(arguments) == 0
    assert "self_influence" in capsys.readouterr().out
    run = ac.Run.open(run.path)
    assert len(run.retraining) == 82
    for i in range(len(kept)):
        assert np.array_equal(run.retraining["losses"][i], kept["losses"][i])
    assert "verification" in run.manifest.details


def test_what_cannot_be_verified_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="at least 3 examples"):
        verify(run.path, examples=2)
    with pytest.raises(InputError, match="no halves or at least 4"):
        verify(run.path, halves=2)
    with pytest.raises(InputError, match="not a run"):
        verify(tmp_path / "nowhere")
    with pytest.raises(InputError, match="--data"):
        verify(run.path, examples=3, halves=0, data="fashion-demo")
    assert not (run.path / RETRAINING_FILE).exists()
