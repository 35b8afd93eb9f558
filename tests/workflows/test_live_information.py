"""Test F-SI at any training time, from the linearized model that a run keeps."""

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attribution_core.errors import InputError
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.runs import Run
from attribution_core.runs.names import LIVE_MODEL_FILE
from attribution_core.scoring.score import score
from attribution_core.scoring.stages import live as live_stage
from attribution_core.workflows.live_information import LiveInformation
from tests.cases import LINEAR_CASES, schedules
from tests.support.sample_run import make_run
from tests.support.scored import ONLY_INFORMATION, quick


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return score(quick(tmp_path_factory.mktemp("live"), **ONLY_INFORMATION))


def largest_error(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(values / expected - 1).max())


def test_live_values_equal_the_runs_own_at_its_times(run):
    live = LiveInformation.open(run)
    assert live.precision == "float64"
    assert live.steps == run.manifest.config["steps"]
    assert largest_error(live.at(live.steps), run.examples["fsi"].to_numpy()) < 1e-9
    times, values = run.evolution("fsi")
    assert live.range == (times[0], times[-1])
    for row, time in enumerate(times):
        assert largest_error(live.at(float(time)), values[row]) < 3e-5  # the run computes these in float32


def weights(live: LiveInformation, steps: float, kept: torch.Tensor) -> torch.Tensor:
    """Return the weights of gradient flow on some of the examples."""
    x, y = live.linear.features[kept, 0], live.linear.state()["residuals"][kept, 0]
    values, vectors = torch.linalg.eigh(x.T @ x)
    schedule = replace(live.schedule, steps=steps)
    return vectors @ (schedule.filter(values.clamp(min=0), len(kept))[:, None] * (vectors.T @ (x.T @ y)))


def test_live_values_between_these_times_are_leave_one_outs(run):
    """Compare three examples with gradient flow on the rest, in the eigenbasis of its own Gram matrix."""
    live, steps = LiveInformation.open(run), 456.7
    scores, linear = live.at(steps), live.linear
    everyone = torch.arange(linear.num_train)
    whole = weights(live, steps, everyone)
    for i in (0, 17, 133):
        change = linear.evaluation_features[:, 0] @ (whole - weights(live, steps, everyone[everyone != i]))
        assert scores[i] == pytest.approx(float(change.square().sum(dim=1).mean()) / 2, rel=1e-8)


def test_effects_at_the_runs_own_time_are_those_it_holds(run):
    live, stored = LiveInformation.open(run), run.effects("ntk")[:]
    scale = np.abs(stored).max()
    for i, j in ((0, 0), (17, 5), (133, 20)):
        assert np.allclose(live.effects_of(i, live.steps), stored[i], atol=1e-5 * scale)
        assert np.allclose(live.effects_on(j, live.steps), stored[:, j], atol=1e-5 * scale)


@pytest.mark.parametrize("steps", [3.0, 456.7, 1e5])
def test_effects_at_other_times_agree_with_each_other(run, steps):
    live = LiveInformation.open(run)
    whole = live.linear.removal_effects(replace(live.schedule, steps=steps)).numpy()
    assert np.allclose(live.effects_of(17, steps), whole[17], atol=1e-9 * np.abs(whole).max())
    assert np.allclose(live.effects_on(5, steps), whole[:, 5], atol=1e-9 * np.abs(whole).max())
    assert not np.allclose(whole, run.effects("ntk")[:], atol=1e-3 * np.abs(whole).max())


def test_effects_between_training_examples_are_those_on_their_losses(run):
    live, steps = LiveInformation.open(run), 456.7
    features, residuals = live.linear.features[:, 0], live.linear.residuals[:, 0]
    everyone = torch.arange(live.linear.num_train)

    def loss(kept: torch.Tensor, on: int) -> float:
        return float((features[on] @ weights(live, steps, kept) - residuals[on]).square().sum()) / 2

    for i, j in ((0, 17), (17, 0), (133, 5), (5, 5)):
        expected = loss(everyone[everyone != i], j) - loss(everyone, j)
        assert live.effects_of(i, steps, on_training=True)[j] == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert live.effects_on(j, steps, on_training=True)[i] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_threads_get_the_same_answers(run):
    live, times = LiveInformation.open(run), [20.0, 300.0, 4000.0] * 3
    alone = [live.at(time) for time in times]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(live.at, times))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_demo_is_computed_in_float32_with_nearly_the_same_values(demo_run):
    live = LiveInformation.open(demo_run)
    assert live.precision == LiveInformation.open(demo_run, exact=True).precision == "float32"  # that of the run
    assert largest_error(live.at(live.steps), demo_run.examples["fsi"].to_numpy()) < 1e-9
    exact = replace(live, linear=LinearizedModel.from_state(load_file(demo_run.path / LIVE_MODEL_FILE), torch.float64))
    assert exact.precision == "float64"
    for time in (live.range[0], live.steps, live.range[1]):
        error = largest_error(live.at(time), exact.at(time))
        print(f"\nLargest relative error of F-SI in float32 at {time:g} steps: {error:.1e}")
        assert error < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_a_model_is_restored_from_its_state(case, dtype):
    linear = LinearizedModel.from_jacobians(
        case.train_jacobian, case.evaluation_jacobian, *case.outputs_and_targets, dtype=dtype
    )
    again = LinearizedModel.from_state(linear.state())
    for schedule in schedules(case.largest):
        if schedule.is_interpolation and dtype == torch.float32:
            continue
        assert torch.equal(again.predictions(schedule), linear.predictions(schedule))
        assert torch.equal(again.removal_effects(schedule), linear.removal_effects(schedule))
        scores = functional_sample_information(linear, schedule)
        assert torch.equal(functional_sample_information(again, schedule), scores)


def test_an_invalid_state_is_refused():
    case = LINEAR_CASES[0]
    state = case.linear_model().state()
    with pytest.raises(InputError, match="do not match: gradient"):
        LinearizedModel.from_state({**state, "gradient": state["gradient"][:, :-1]})
    with pytest.raises(InputError, match="not those of a linearized model"):
        LinearizedModel.from_state({"features": state["features"]})


def test_a_run_without_a_model_says_what_to_do(tmp_path):
    run = Run.open(make_run(tmp_path / "digits", n=60))
    live = LiveInformation.open(run)
    assert live.at(123.0).shape == (60,)
    assert (live.at(0.0) == 0).all()
    assert live.steps == 1000
    with pytest.raises(InputError, match="zero or more"):
        live.at(-1.0)
    (run.path / LIVE_MODEL_FILE).write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        LiveInformation.open(run)
    (run.path / LIVE_MODEL_FILE).unlink()
    with pytest.raises(InputError, match="run the same score command again"):
        LiveInformation.open(run)


def test_a_model_too_large_to_keep_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(live_stage, "LARGEST_SHARED", 1000)
    monkeypatch.setattr(live_stage, "LARGEST_SEPARATE", 10**9)
    shared = score(quick(tmp_path, max_train=100, **ONLY_INFORMATION))
    with pytest.raises(InputError, match=r"keeps no linearized model .* the limit is"):
        LiveInformation.open(shared)
    assert shared.status == "complete"
    options = {"max_train": 100, "parameters": "^1", **ONLY_INFORMATION}
    separate = score(quick(tmp_path, out=tmp_path / "separate", **options))
    live = LiveInformation.open(separate)
    assert live.linear.features.shape[1] == 10
    assert largest_error(live.at(live.steps), separate.examples["fsi"].to_numpy()) < 1e-9


def test_an_infinite_training_time_is_computed_in_full_precision(tmp_path, monkeypatch):
    from attribution_core.workflows import live_information as module

    monkeypatch.setattr(module, "EXACT_WORK", 0)
    options = {"steps": math.inf, "max_train": 100, **ONLY_INFORMATION}
    run = score(quick(tmp_path, **options))
    live = LiveInformation.open(run)
    assert live.schedule == GradientDescent(live.schedule.learning_rate, math.inf)
    assert largest_error(live.at(math.inf), run.examples["fsi"].to_numpy()) < 1e-9
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)  # nothing in it depends on its place
    assert np.array_equal(LiveInformation.open(Run.open(moved)).at(50.0), live.at(50.0))
