"""Scores over training: what stands between the stored times, and what is computed beside the page."""

import threading
import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from attribution_core.errors import InputError
from attribution_core.evaluation.comparison import rank_correlation
from samplescope_app.data import live_scores, run_library, score_evolution
from samplescope_app.data.live_scores import LiveScores
from samplescope_app.data.score_evolution import ScoreEvolution
from tests.support.app_pages import open_page
from tests.support.sample_run import make_run

_RNG = np.random.default_rng(0)


def test_between_stored_times_values_lie_on_a_line_over_the_logarithm():
    stored = ScoreEvolution(
        np.array([1.0, 100.0, 1e4]), np.array([[0.0, 4.0], [2.0, 2.0], [6.0, 2.0]], dtype=np.float32)
    )
    assert stored.at(10.0) == pytest.approx([1.0, 3.0])
    assert stored.at(1000.0) == pytest.approx([4.0, 2.0])
    for place, moment in enumerate(stored.times):
        assert stored.stores(moment)
        assert stored.at(moment).tolist() == stored.values[place].tolist()
    assert not stored.stores(10.0)
    assert stored.at(0.1).tolist() == [0.0, 4.0]
    assert stored.at(1e9).tolist() == [6.0, 2.0]


def test_the_slider_has_all_stored_times_and_nine_between_each_two():
    times = 1000 * 10 ** (np.arange(-4, 5) / 2)
    positions = score_evolution.slider_times(times)
    assert len(positions) == 81
    assert positions == sorted(positions)
    assert positions[::10] == times.tolist()
    assert [score_evolution.steps_text(moment) for moment in positions[:3]] == ["10 steps", "11.2 steps", "12.6 steps"]
    assert score_evolution.steps_text(times[-2]) == "31,600 steps"


def test_rank_agreement_is_spearmans():
    values = _RNG.lognormal(size=50)
    assert rank_correlation(values, np.log(values))[0] == pytest.approx(1)
    assert rank_correlation(values, -values)[0] == pytest.approx(-1)
    assert np.isnan(rank_correlation(values, np.zeros(50))[0])


def test_ranked_points_begin_with_the_highest_and_end_with_the_lowest():
    values = _RNG.lognormal(size=50_000)
    points = score_evolution.ranked_points({"now": values, "then": 2 * values})
    assert len(points) < 500
    now = points[points["series"] == "now"]
    assert (now["x"].iloc[0], now["x"].iloc[-1]) == (1, 50_000)
    assert (now["y"].iloc[0], now["y"].iloc[-1]) == (values.max(), values.min())
    assert now["y"].is_monotonic_decreasing


def test_groups_are_by_rank_at_the_end():
    last = np.arange(200.0)
    stored = ScoreEvolution(np.array([1.0, 2.0]), np.stack([last[::-1], last]))
    points = score_evolution.group_means(stored, "groups by rank", "a score").set_index(["series", "x"])["y"]
    assert points["top 1%", 2.0] == 198.5
    assert points["top 1%", 1.0] == 0.5
    assert points["50 to 100%", 2.0] == last[:100].mean()
    few = score_evolution.group_means(
        ScoreEvolution(np.array([1.0]), np.array([[3.0, 1.0]])), "groups of two", "a score"
    )
    assert few["y"].tolist() == [3.0, 1.0]


def test_the_strongest_are_the_highest_and_the_lowest_sums():
    stored = ScoreEvolution(np.array([1.0, 2.0]), np.array([[1.0, 0.0, -5.0, 3.0], [1.0, 0.5, 2.0, 0.0]]))
    assert score_evolution.strongest(stored, 1).tolist() == [3, 2]
    assert score_evolution.strongest(stored, 3).tolist() == [3, 0, 1, 2]


class _Slow:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.gate, self.asked = threading.Event(), []

    def at(self, steps: float) -> np.ndarray:
        self.asked.append(steps)
        self.gate.wait(10)
        return np.full(80, steps)


def _wait(scores: LiveScores, moment: float) -> None:
    until = time.monotonic() + 10
    while not scores.ready(moment):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_was_asked_last_is_computed_first():
    slow = _Slow()
    scores = LiveScores(lambda: slow)
    assert scores.ask(1.0) is None
    while not slow.asked:
        time.sleep(0.005)
    for moment in (2.0, 3.0, 2.0):
        assert scores.ask(moment) is None
    assert not scores.ready(2.0)
    slow.gate.set()
    _wait(scores, 3.0)
    assert slow.asked == [1.0, 2.0, 3.0]
    assert scores.ask(2.0).tolist() == [2.0] * 80
    assert slow.asked == [1.0, 2.0, 3.0]  # once each


def test_a_run_that_keeps_nothing_says_why():
    def refuse():
        raise InputError("There is nothing to compute from.")

    scores = LiveScores(refuse)
    assert scores.ask(1.0) is None
    _wait(scores, 1.0)
    assert scores.ask(1.0) is None
    assert scores.problem == "There is nothing to compute from."


def _words(app: AppTest) -> str:
    found = (app.info, app.error, app.caption, app.code, app.markdown)
    return " ".join(element.value for kind in found for element in kind).replace("\\", "")


def test_the_page_stays_usable_while_scores_are_computed(run, monkeypatch):
    slow = _Slow()
    scores = LiveScores(lambda: slow)
    monkeypatch.setattr(live_scores, "scores_of", lambda _: scores)
    app = open_page("training", run="digits")
    app.select_slider(key="training time digits").set_value(11.2).run()
    assert "Interpolated between 10 steps and 31.6 steps; the exact values are being computed" in _words(app)
    app.select_slider(key="training epoch digits").set_value(2.0).run()
    assert "Most sensitive after epoch 2" in _words(app)
    assert "being computed" in _words(app)
    slow.gate.set()
    _wait(scores, 11.2)
    app.run()
    assert "Computed from the run's linearized model, at 11.2 steps" in _words(app)


@pytest.fixture
def bare(tmp_path):
    """A run with nothing over training, no effects and no summary."""
    make_run(tmp_path / "digits", n=80, evidence=False)
    for name in ("evolution", "effects"):
        for entry in (tmp_path / "digits" / name).iterdir():
            entry.rename(tmp_path / f"{name} {entry.name}")
    for name in ("class_effects", "curves"):
        (tmp_path / "digits" / f"{name}.parquet").unlink()
    run_library.serve(tmp_path)


@pytest.mark.usefixtures("bare")
def test_what_a_run_lacks_is_said_with_what_adds_it():
    training = _words(open_page("training", run="digits"))
    for title in ("Functional sample information (F-SI)", "Sensitivity (MPE)", "Contribution (HYDRA)"):
        assert f"This run does not store {title} over training" in training
    assert "known only if the data record the changed labels" in training
    classes = _words(open_page("classes", run="digits"))
    assert "This run has no effects between classes" in classes
    assert "samplescope score" in classes


@pytest.mark.usefixtures("bare")
def test_without_a_summary_its_cost_is_said_and_the_cut_goes_by_information():
    app = open_page("summarize", run="digits")
    assert "Not measured yet" in _words(app)
    assert "samplescope summarize" in _words(app)
    assert "111 trainings" in _words(app)
    assert "the cut removes examples by F-SI" in _words(app)
    assert "32 to remove" in _words(app)
    assert "Compute" in [button.label for button in app.button]
    app.slider[0].set_value(100).run()
    assert "The cut removes nothing" in _words(app)


def test_a_summary_by_one_seed_has_no_intervals(folder, run, monkeypatch):
    nothing = {
        name: [means, ["NaN"] * 10] for name, (means, _) in run.manifest.details["summarization"]["retrained"].items()
    }
    details = {**run.manifest.details["summarization"], "seeds": 1, "retrained": nothing}
    monkeypatch.setitem(run.manifest.details, "summarization", details)
    words = _words(open_page("summarize", run="digits"))
    assert "Keeping **60%** (48 of 80): test accuracy **86.0%**, versus 90.0% with all." in words
    assert "not known" in words
