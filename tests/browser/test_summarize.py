"""Summarize: the curves, the cut, and what can be done about what would go."""

from __future__ import annotations

import re

import numpy as np
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App


def _cut(app: App, page: Page, *keys: str) -> None:
    page.get_by_role("slider", name="Keep").focus()
    for key in keys:
        app.press(key)


def test_the_cut_is_moved_by_keyboard(app: App, run: Run, page: Page):
    app.open("summarize")
    order = np.argsort(run.examples["summary_rank"].to_numpy())
    figure = page.locator(".js-plotly-plot").first
    expect(figure.locator("path.yerror")).to_have_count(40)
    # Between 0.86 ± 0.018 at 60% and 0.87 ± 0.016 at 70%.
    expect(
        page.get_by_text("Keeping 60% (180 of 300): test accuracy 86.0 ± 1.8%, versus 90.0% with all.")
    ).to_be_visible()
    expect(page.get_by_text("120 to remove")).to_be_visible()
    assert _nearest(app) == order[119]
    _cut(app, page, "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    expect(
        page.get_by_text("Keeping 65% (195 of 300): test accuracy 86.5 ± 1.7%, versus 90.0% with all.")
    ).to_be_visible()
    expect(page.get_by_text("105 to remove")).to_be_visible()
    expect(app.tiles("Last to be removed, just below the cut").first.locator("img")).to_have_attribute(
        "alt", re.compile(f"^#{order[104]},")
    )
    page.get_by_text("Show linearized model").click()
    expect(figure.locator(".legendtext", has_text="linearized")).to_have_count(4)


def _nearest(app: App) -> int:
    alt = app.tiles("Last to be removed, just below the cut").first.locator("img").get_attribute("alt")
    assert alt is not None
    return int(alt.split(",")[0].removeprefix("#"))


def test_review_takes_over_exactly_what_would_go(app: App, run: Run, page: Page):
    app.open("summarize")
    order = np.argsort(run.examples["summary_rank"].to_numpy())
    _cut(app, page, "End", "ArrowLeft")
    expect(page.get_by_text("3 to remove")).to_be_visible()
    app.button("Review").click()
    app.wait_for_path("/review")
    expect(page.get_by_text("0 of 3 suspects decided")).to_be_visible()
    for row in order[:3][::-1]:
        app.shows(int(row))
        app.press("k")
    expect(page.get_by_text("You have decided or skipped every suspect")).to_be_visible()
    assert set(run.decisions.current()["id"]) == set(run.examples["id"].iloc[order[:3]])


def test_what_would_go_is_dropped_in_one_step(app: App, run: Run, page: Page):
    first = run.examples["id"].iloc[int(run.examples["summary_rank"].idxmin())]
    run.decisions.record([first], "keep")
    app.open("summarize")
    _cut(app, page, "End", "ArrowLeft", "ArrowLeft")
    expect(page.get_by_text("6 to remove")).to_be_visible()
    expect(page.get_by_text("1 already has a decision")).to_be_visible()
    app.button("Drop all 5").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("5 training examples are marked as dropped")).to_be_visible()
    assert run.decisions.counts()["drop"] == 0
    dialog.get_by_role("button", name="Drop 5").click()
    expect(dialog).to_have_count(0)
    expect(app.button("Drop all 0")).to_be_disabled()
    assert run.decisions.counts() == {"keep": 1, "drop": 5, "relabel": 0}
    app.settle()  # a press while the page is redrawn may be lost
    app.button("Undo").click()
    expect(app.button("Drop all 5")).to_be_enabled()
    assert run.decisions.counts() == {"keep": 1, "drop": 0, "relabel": 0}
