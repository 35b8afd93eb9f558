"""Scores from elsewhere stand beside our own on every page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import attribution_core as ac
from attribution_core.runs import Run
from tests.support.app_driver import SHOWN, App, strongest

TITLE = "<b>Quality</b> *of labels*"  # whoever sent the run may have called it so
METHOD = "EKFAC & others"
TILES = 24


@pytest.fixture
def given(run: Run) -> Run:
    """The run with a score that knows the wrong labels, with one that the first example lacks, and with effects."""
    rng, n = np.random.default_rng(3), len(run.examples)
    validation = int(run.evaluation["split"].eq("validation").sum())
    wrong = run.examples["label_name"] != run.examples["original_label"]
    ac.import_scores(run, "quality", rng.random(n) - wrong, title=TITLE, suspicious="low")
    rarity = rng.random(n)
    rarity[0] = np.nan
    ac.import_scores(run, "rarity", rarity)
    return ac.import_scores(run, "ekfac", rng.normal(size=(n, validation)), title=METHOD, positive="harmful")


@pytest.fixture
def other(given: Run) -> Iterator[Run]:
    """The same beside it."""
    path = given.path.with_name(f"{given.id}-other")
    shutil.copytree(given.path, path)
    yield Run.open(path)
    shutil.rmtree(path)


def test_a_score_ranks_and_explains_itself(app: App, page: Page, given: Run):
    order = np.argsort(-given.examples["quality"].to_numpy(), kind="stable")
    app.open("overview")
    app.choose("Score", TITLE)
    app.shows_rows(f"Highest {TITLE}", order[:TILES].tolist(), first=TILES)
    app.shows_rows(f"Lowest {TITLE}", order[::-1][:TILES].tolist(), first=TILES)
    expect(page.get_by_text("Imported from Python on").first).to_be_visible()
    expect(page.get_by_text("imported from: Python")).to_be_visible()
    drawn = page.locator(".js-plotly-plot").first
    expect(drawn.locator(".xtitle")).to_have_text(TITLE)  # letter by letter
    agreement = page.get_by_test_id("stExpander").filter(has_text="Rank correlation between the scores")
    agreement.get_by_text("Rank correlation between the scores").click()
    expect(agreement.locator(".ytick", has_text=TITLE)).to_be_visible()
    page.get_by_role("button", name="See all").first.click()
    app.wait_for_path("/browse")
    app.shows_rows("Training examples", order[:TILES].tolist(), first=TILES)


def test_its_suspicious_end_is_reviewed_and_judged(app: App, page: Page, given: Run):
    app.open("review")
    app.choose("Rank suspects by", f"Lowest {TITLE}")
    app.shows(int(given.examples["quality"].idxmin()))
    app.open("trust")
    expect(page.locator(".js-plotly-plot .legendtext", has_text="Quality")).to_have_text(TITLE)  # among the best
    app.open("runs")
    expect(
        page.get_by_text("Scores: Functional sample information (F-SI)", exact=False).filter(has_text=TITLE)
    ).to_be_visible()


def test_an_example_without_the_score_is_distinguished_from_the_others(app: App, page: Page, given: Run):
    app.open("map")
    app.choose("Color by", "Rarity")
    expect(page.locator(".js-plotly-plot").first.locator(".colorbar text", has_text="Rarity")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first.locator(".legendtext", has_text="no value")).to_be_visible()
    app.open("example", id=given.examples["id"].iloc[0])
    expect(page.get_by_text("–", exact=True)).to_be_visible()


def test_effects_rank_as_their_own_matrix(app: App, page: Page, given: Run):
    start, effects = 17, given.effects("ekfac")[:]
    app.open("example", id=given.examples["id"].iloc[start])
    app.choose("Method", METHOD, exact=False)
    app.shows_rows("Helps most", strongest(effects[start], 1))
    app.shows_rows("Harms most", strongest(effects[start], -1))
    expect(page.get_by_text(f"Effect of #{start} on each of {effects.shape[1]} validation examples")).to_be_visible()
    expect(app.tiles("Helps most").first).to_have_accessible_name(re.compile("its own unit, helpful$"))
    app.tiles("Harms most").first.click()
    target = strongest(effects[start], -1)[0]
    app.shows_evaluation(target)
    app.shows_rows("Most helpful", strongest(effects[:, target], 1))
    expect(app.tiles("Most harmful")).to_have_count(SHOWN)
    app.open("classes")
    app.choose("Method", METHOD, exact=False)
    expect(page.get_by_text("Blue (positive): they help. Orange")).to_be_visible()


def test_two_runs_that_were_given_it_are_compared(other: Run, app: App, page: Page):
    app.open("compare", other=other.id)
    app.choose("Score", TITLE)
    drawn = page.locator(".js-plotly-plot").first
    expect(drawn.locator(".xtitle")).to_have_text(f"Before: {TITLE}")
    expect(drawn.locator(".ytitle")).to_have_text(f"After: {TITLE}")
