"""The posteriors that a run may take for its sensitivities: which trainings give them, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.jobs.requests import why_impossible
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring import estimate as estimating
from attribution_core.scoring.score import score
from attribution_core.scoring.stages import sensitivity
from attribution_core.training import Recipe
from tests.support.scored import digits_as_scored, quick

OTHERS_OFF = {"contributions": "off", "influence": "off"}
GIVEN = {"sgd-adam": ("sgd", "adam"), "iblr-adam": ("iblr", "adam"), "adam-iblr": ("adam", "iblr")}


def recipe(optimizer: str, **options) -> Recipe:
    return Recipe(optimizer=optimizer, epochs=2, **options)


def scored(folder: Path, optimizer: str, posterior: str, **options) -> ac.Run:
    given = {"recipe": recipe(optimizer), "sensitivity": posterior, "max_train": 120, **OTHERS_OFF, **options}
    return score(quick(folder, **given))


@pytest.mark.parametrize(
    ("optimizer", "asked", "used"),
    [("adam", "auto", "kfac"), ("adam", "adam", "adam"), ("adamw", "adam", "adam"), ("iblr", "auto", "iblr")],
)
def test_a_run_takes_what_its_optimizer_learned(tmp_path, optimizer, asked, used):
    run = scored(tmp_path, optimizer, asked)
    facts = run.manifest.details["sensitivity"]
    assert facts["posterior"] == used
    decay = run.manifest.config["recipe"]["weight_decay"]
    assert facts["delta"] == facts["delta_of_objective"] == 120 * decay
    # From the weights and the second moment that the run keeps.
    (train, *_) = digits_as_scored("train", max_train=120)
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,))
    model.load_state_dict(load_file(run.path / FINAL_WEIGHTS_FILE))
    kept = load_file(max((run.path / "trajectory").glob("step-*.safetensors")))
    moments = {name.removeprefix("second_moment/"): value for name, value in kept.items() if "second" in name}
    found = ac.memory_sensitivity(model, train, 120 * decay, posterior=used, second_moments=moments)
    assert np.allclose(run.examples["sensitivity"], found.sensitivity, rtol=1e-3, atol=1e-7)
    assert np.allclose(run.examples["variance"], found.error_variance, rtol=1e-3, atol=1e-7)


def test_a_run_that_was_stopped_before_its_sensitivities_resumes_with_the_kept_moments(tmp_path, monkeypatch):
    whole = scored(tmp_path / "whole", "adam", "adam")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sensitivity, "memory_evolution", stop)
        with pytest.raises(KeyboardInterrupt):
            scored(tmp_path / "stopped", "adam", "adam")
    resumed = scored(tmp_path / "stopped", "adam", "adam")
    assert resumed.examples["sensitivity"].tolist() == whole.examples["sensitivity"].tolist()


@pytest.mark.parametrize(("optimizer", "asked"), GIVEN.values(), ids=GIVEN)
def test_another_optimizers_posterior_is_refused_before_training(tmp_path, optimizer, asked):
    with pytest.raises(InputError, match=f"this run trains by {optimizer}: train by it") as refused:
        scored(tmp_path, optimizer, asked)
    assert not (tmp_path / "run").exists()
    options = {"data": "digits", "sensitivity": asked, "recipe": {"optimizer": optimizer}}
    assert why_impossible(options) == str(refused.value)  # what the page New run shows
    with pytest.raises(InputError, match="this run trains by"):
        estimating.estimate(quick(tmp_path, sensitivity=asked, recipe=recipe(optimizer)))


def test_given_weights_have_no_second_moment(tmp_path):
    weights = scored(tmp_path, "adam", "off").path / FINAL_WEIGHTS_FILE
    given = {"weights": weights, "out": tmp_path / "given"}
    with pytest.raises(InputError, match="weights that are scored as they are have none: choose another posterior"):
        scored(tmp_path, "adam", "adam", training="none", **given)
    tuned = scored(tmp_path, "adam", "adam", training="fine-tune", **given)
    assert tuned.manifest.details["sensitivity"]["posterior"] == "adam"


def test_what_cannot_work_is_refused_or_skipped_before_training(tmp_path):
    none = Recipe(optimizer="adam", epochs=1, weight_decay=0.0)
    with pytest.raises(InputError, match="give --train-weight-decay above zero"):
        score(quick(tmp_path, recipe=none, sensitivity="kfac", **OTHERS_OFF))
    with pytest.raises(InputError, match="The full posterior of"):
        score(quick(tmp_path, hidden=(200,), sensitivity="full", **OTHERS_OFF))
    assert not (tmp_path / "run").exists()
    skipped = score(quick(tmp_path, recipe=none, max_train=60, **OTHERS_OFF)).manifest.details["sensitivity"]
    assert "this weight decay is zero" in skipped["skipped"]


def test_what_a_form_may_hold_is_checked_without_its_data():
    assert why_impossible({"data": "nowhere", "sensitivity": "adam", "recipe": {"optimizer": "adamw"}}) == ""
    assert "milestones" in why_impossible({"data": "nowhere", "recipe": {"schedule": "step"}})
    assert why_impossible({"data": "nowhere", "recipe": {"optimizer": "adam", "weight_decay": 0}}) == ""
