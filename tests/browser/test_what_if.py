"""What if some examples were gone: asked of a filter, of tiles, of a lasso and of what was dropped; and verified."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.runs.retraining import measured_without
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.group_removal import GroupEstimator
from tests.support.app_driver import App, strongest
from tests.support.map_driver import draw_around


@pytest.fixture
def scored(page: Page, tmp_path: Path, serve: Callable[[Path], str]) -> App:
    recipe = Recipe(epochs=2)
    lean = {"sensitivity": "off", "contributions": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=tmp_path / "runs" / "small", hidden=(8,), recipe=recipe, **lean)
    score(config.model_copy(update={"max_train": 120}))
    return App(page, serve(tmp_path / "runs"), "small")


def test_all_that_is_listed_or_selected_is_asked_about_and_verified(scored: App, page: Page, tmp_path: Path):
    run = Run.open(tmp_path / "runs" / "small")
    scored.open("browse")
    listed = np.flatnonzero(run.examples["id"].str.contains("7"))
    page.get_by_label("Search or filter").fill("7")
    page.keyboard.press("Enter")
    scored.settle()
    scored.tiles().first.click(modifiers=["Control"])
    scored.button(f"Select all {len(listed)}").click()
    start = time.monotonic()
    scored.button("What if gone?").click()
    expected = GroupEstimator.open(run).without(listed.tolist())
    assert expected.accuracy is not None
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(f"{expected.accuracy[1]:.1%}")
    print(f"\nAnswered within {time.monotonic() - start:.1f} s, with the import of torch.")
    scored.shows_rows("Suffer most", strongest(expected.changes["influence"], 1))
    scored.shows_rows("Gain most", strongest(expected.changes["influence"], -1))
    expect(page.get_by_text("Measured")).to_have_count(0)

    scored.button("Verify by retraining").click()
    expect(page.get_by_text(re.compile("Measured by retraining, 2 seeds"))).to_be_visible(timeout=90_000)
    measured = measured_without(run.path, listed.tolist())
    assert measured is not None
    agreement = np.corrcoef(expected.changes["influence"], measured.changes.mean(axis=0))[0, 1]
    expect(page.get_by_text(f"influence function {agreement:.2f}")).to_be_visible()

    scored.press("Escape")
    page.get_by_role("button", name="Clear", exact=True).click()
    scored.settle()
    scored.tiles().nth(2).click(modifiers=["Control"])
    scored.button("What if gone?").click()
    expect(page.get_by_text("The 1 selected training examples")).to_be_visible()
    expect(page.get_by_test_id("stMetricValue").first).to_be_visible()
    expect(page.get_by_text("Measured")).to_have_count(0)  # of another group


def test_a_lasso_on_the_map_is_asked_about(app: App, page: Page, run: Run):
    app.open("map")
    inside = draw_around(app, run)
    page.get_by_text(f"What if the {len(inside)} selected were gone?").click()
    rows = np.flatnonzero(run.examples["id"].isin(inside))
    app.shows_rows("Suffer most", strongest(run.effects("influence")[:][rows].sum(axis=0), 1))


def test_what_was_dropped_is_asked_about(app: App, page: Page, run: Run):
    app.open("review")
    expect(page.get_by_text("What if")).to_have_count(0)
    run.decisions.record(run.examples["id"].iloc[[4, 8]].tolist(), "drop")
    page.reload()
    page.get_by_text("What if the 2 dropped training examples were gone?").click()
    app.shows_rows("Suffer most", strongest(run.effects("influence")[:][[4, 8]].sum(axis=0), 1))
