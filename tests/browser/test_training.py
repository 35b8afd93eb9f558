"""Training: the slider over training time, the epochs, and the curves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.runs.schema import CONTRIBUTION_SPREAD
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.live_information import LiveInformation
from samplescope_app.wording.text import format_score
from tests.support.app_driver import App

THEMES = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)


def test_the_time_is_moved_by_keyboard(app: App, run: Run, page: Page):
    """A stored time answers at once; one between two of them is computed, and is what the method gives."""
    app.open("training")
    times, stored = run.evolution("fsi")
    slider = page.get_by_role("slider", name="Training time")
    expect(page.get_by_text("Stored in the run, at 1,000 steps")).to_be_visible()
    slider.focus()
    app.press("Home")
    expect(page.get_by_text("Stored in the run, at 10 steps")).to_be_visible()
    _shows_the_highest(app, "Most informative at 10 steps", stored[0])
    slider.focus()
    app.press("ArrowRight")
    # The server reads PyTorch first, in the background, which takes a busy machine its time.
    expect(page.get_by_text("Computed from the run's linearized model, at 11.2 steps")).to_be_visible(timeout=60_000)
    exact = LiveInformation.open(run).at(11.2)
    _shows_the_highest(app, "Most informative at 11.2 steps", exact)
    agreement = np.corrcoef(*(np.argsort(np.argsort(each)) for each in (exact, run.examples["fsi"])))[0, 1]
    expect(page.get_by_text(f"at 11.2 steps: {agreement:.3f}")).to_be_visible()
    app.tiles("Most informative at 11.2 steps").first.click()
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[int(np.argmax(exact))]
    assert times[0] == 10


def _shows_the_highest(app: App, strip: str, values: np.ndarray) -> None:
    row = int(np.argmax(values))
    first = app.tiles(strip).first
    expect(first.locator("img")).to_have_attribute("alt", re.compile(f"^#{row},"))
    expect(first.locator(".score")).to_have_text(format_score(float(values[row])))


def test_an_epoch_shows_what_the_model_depended_on_then(app: App, run: Run, page: Page):
    app.open("training")
    _, stored = run.evolution("sensitivity")
    expect(page.get_by_text("Most sensitive after epoch 10")).to_be_visible()
    page.get_by_role("slider", name="After epoch").focus()
    app.press("ArrowLeft")
    _shows_the_highest(app, "Most sensitive after epoch 5", stored[2])
    page.locator(".js-plotly-plot .legendtext", has_text="top 1%").wait_for()
    tile = app.tiles("Largest contributions").nth(0)
    expect(app.tiles("Largest contributions")).to_have_count(6)
    _, contributions = run.evolution("contribution")
    expect(tile.locator("img")).to_have_attribute("alt", re.compile(f"^#{np.argmax(contributions[:].sum(axis=0))},"))
    tile.click()
    app.wait_for_path("/example")


@THEMES
def test_the_courses_of_losses_and_of_wrong_labels_are_drawn(app: App, page: Page):
    app.open("overview")
    page.get_by_role("link", name="Scores over training").click()
    app.wait_for_path("/training")
    expect(page.get_by_text("Generalization estimated from the training examples")).to_be_visible()
    expect(
        page.get_by_text("The leave-one-out loss is lowest after epoch 2, the test loss after epoch 2")
    ).to_be_visible()
    losses = page.locator(".js-plotly-plot").filter(has=page.locator(".legendtext", has_text="test loss"))
    expect(losses.locator(".scatterlayer .trace")).to_have_count(5)  # three losses and two stars
    expect(page.locator(".js-plotly-plot .legendtext", has_text="among the most influential")).to_be_visible()
    expect(page.locator(".js-plotly-plot .legendtext", has_text="after epoch 3")).to_be_visible()
    expect(page.get_by_text("test accuracy 90.0%").first).to_be_visible()


def test_contributions_are_averaged_over_trainings(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    """Of a run by Adam, which has no effects of pairs by HYDRA, but pages like any other."""
    recipe = Recipe(epochs=2, optimizer="adam", learning_rate=0.01)
    lean = {"sensitivity": "off", "influence": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=tmp_path / "runs" / "small", hidden=(8,), recipe=recipe, **lean)
    first = score(config.model_copy(update={"max_train": 120})).examples["contribution"].to_numpy()
    app = App(page, serve(tmp_path / "runs"), "small")
    app.open("training")
    expect(page.get_by_text("These contributions are of one training.")).to_be_visible()
    expect(page.get_by_text(re.compile("^4 more trainings, about"))).to_be_visible()
    app.button("Average over 5 trainings").click()
    expect(page.get_by_text(re.compile("Averaging contributions over trainings"))).to_be_visible(timeout=30_000)
    expect(page.get_by_text(re.compile("^Means over 5 trainings"))).to_be_visible(timeout=90_000)
    after = Run.open(tmp_path / "runs" / "small")
    median = format_score(float(after.examples[CONTRIBUTION_SPREAD].median()))
    expect(page.get_by_text(f"a standard deviation of {median} nats")).to_be_visible()
    expect(app.button("Average over 10 trainings")).to_be_visible()
    assert not np.allclose(after.examples["contribution"], first)
    expect(app.tiles("Largest contributions")).to_have_count(6)
    for name in ("browse", "example", "trust", "classes", "overview"):
        app.open(name)
        expect(page.get_by_test_id("stException")).to_have_count(0)
