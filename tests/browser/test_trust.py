"""Trust: predicted and actual effects, and what it takes to verify more."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from tests.support.app_driver import App


def test_predicted_and_actual_effects_are_drawn(app: App, page: Page):
    app.open("trust")
    expect(page.get_by_text("Retraining removed 12 examples one by one and used 50 random halves")).to_be_visible()
    expect(page.get_by_text("of the LDS is 0.97")).to_be_visible()
    expect(page.get_by_text("81% of them have the right sign, and their Spearman is 0.66")).to_be_visible()
    plot = page.locator(".js-plotly-plot").first
    expect(plot.locator(".scatterlayer .points path")).to_have_count(12)
    expect(plot.locator(".legendtext", has_text="least squares")).to_be_visible()
    expect(plot.locator(".legendtext", has_text="as predicted")).to_have_count(0)  # other units
    expect(page.get_by_text("Noise ceiling of Spearman 0.96")).to_be_visible()
    app.choose("Score", "Influence function")
    expect(plot.locator(".legendtext", has_text="as predicted")).to_be_visible()
    expect(page.get_by_text("The figure shows means over the evaluation examples")).to_be_visible()


def test_a_point_leads_to_its_example(app: App, page: Page, run: Run):
    app.open("trust")
    points = page.locator(".js-plotly-plot").first.locator(".scatterlayer .points path")
    expect(points).to_have_count(12)
    app.settle()
    points.nth(4).scroll_into_view_if_needed()
    box = points.nth(4).bounding_box()
    assert box is not None
    # With the mouse, since Plotly lays a rectangle over its points that takes the events.
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"][12]


def test_noise_wrong_labels_and_studies_are_shown(app: App, page: Page):
    app.open("trust")
    app.settle()
    for text in ("Variation between seeds", "Wrong labels", "Studies of this run", "Other seeds"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    expect(page.locator(".js-plotly-plot .legendtext", has_text="Random order")).to_be_visible()
    expect(page.locator(".js-plotly-plot .legendtext", has_text="Functional sample information (F-SI)")).to_be_visible()
    expect(page.get_by_text("Error of influence functions", exact=True)).to_be_visible()
    expect(page.get_by_text("This run has no influence function, so there is no damping to choose.")).to_be_visible()


def test_the_cost_follows_the_numbers(app: App, page: Page):
    app.open("trust")
    expect(page.get_by_text("126 trainings to do")).to_be_visible()  # 2 (1 + 12 + 50)
    page.get_by_label("Random halves").fill("2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Choose no halves, or four or more")).to_be_visible()
    page.get_by_label("Random halves").fill("0")
    page.keyboard.press("Enter")
    expect(page.get_by_text("26 trainings to do")).to_be_visible()


def test_a_run_verified_before_its_points_were_kept_says_how_to_see_them(app: App, page: Page, run: Run):
    (run.path / "verification.parquet").unlink()
    app.open("trust")
    expect(page.get_by_text("did not store single removals")).to_be_visible()
    expect(page.get_by_role("button", name="Retrain more")).to_be_visible()


def test_a_run_is_verified_from_the_page(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    folder = tmp_path / "runs"
    recipe = Recipe(epochs=1)
    lean = {"influence": "off", "sensitivity": "off", "contributions": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=folder / "first", hidden=(8,), recipe=recipe, max_train=60, **lean)
    score(config)
    shutil.copytree(folder / "first", folder / "second")
    _with_seed(folder / "second", 1)
    app = App(page, serve(folder / "first"), "first")
    app.open("trust")
    expect(page.get_by_text("Not verified yet")).to_be_visible()
    expect(page.get_by_text("it is not known which labels are wrong")).to_be_visible()
    expect(page.get_by_text("Spearman's rank correlation of this run's scores (seed 0)")).to_be_visible()
    page.get_by_label("Examples removed").fill("3")
    page.keyboard.press("Enter")
    page.get_by_label("Random halves").fill("0")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("^8 trainings to do"))).to_be_visible()
    page.get_by_role("button", name="Verify by retraining").click()
    expect(page.get_by_text("Retraining removed 3 examples one by one")).to_be_visible(timeout=90_000)
    app.settle()
    expect(page.locator(".js-plotly-plot").first.locator(".scatterlayer .points path")).to_have_count(3)
    expect(page.get_by_text("all trainings are done")).to_be_visible()
    expect(page.get_by_text("Training on all examples gave a validation accuracy of")).to_be_visible()


def test_influence_functions_are_asked_their_own_question(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    lean = {"sensitivity": "off", "contributions": "off", "map": "off", "hidden": (4,), "max_train": 60}
    run = score(ScoreConfig(data="digits", out=tmp_path / "runs" / "small", recipe=Recipe(epochs=2), **lean))
    app = App(page, serve(tmp_path / "runs"), "small")
    app.open("trust")
    expect(page.get_by_text("It estimates the loss after the weights gave up that example's fit")).to_be_visible()
    app.button("Compare with its own question").click()
    expect(page.get_by_text("for 5 removed examples")).to_be_visible(timeout=90_000)
    found = Run.open(run.path).manifest.details["responses"]
    own = found["correlations"]["at the end"]["bregman"][0]
    expect(page.get_by_text(f"the influence function at the last weights is right: {own:.2f}")).to_be_visible()
    bars = page.locator(".js-plotly-plot").first
    expect(bars.locator(".barlayer .point")).to_have_count(5)
    expect(bars.get_by_text(f"train on, not again {found['parts']['warm-start'][0]:.3g}")).to_be_visible()
    expect(app.button("Compare more examples")).to_be_visible()


def test_overview_says_it_in_short(app: App, page: Page):
    app.open("overview")
    app.settle()
    agreement = page.get_by_test_id("stExpander").filter(has_text="Rank correlation between the scores")
    agreement.get_by_text("Rank correlation between the scores").click()
    expect(agreement.locator(".js-plotly-plot .heatmaplayer image").first).to_be_visible()
    expect(page.get_by_text("highest correlation that the noise of retraining allows")).to_be_visible()
    page.get_by_role("button", name="Trust").click()
    app.wait_for_path("/trust")


def _with_seed(run: Path, seed: int) -> None:
    """As if it had been scored with another seed."""
    file = run / "run.json"
    manifest = json.loads(file.read_text())
    manifest["config"]["seed"] = seed
    file.write_text(json.dumps(manifest))
