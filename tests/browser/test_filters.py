"""The filters of Browse, as a user sets them: in the menus, in the field, in the address, with Back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, eventually


def address(app: App) -> dict[str, str]:
    query = app.page.evaluate("location.search.slice(1)")  # Playwright's own idea of it is late
    return {name: value for name, (value,) in parse_qs(query).items() if name != "run"}


def listed(app: App, count: int) -> None:
    expect(app.page.get_by_text(re.compile(f"^{count:,} of "))).to_be_visible()


def search(app: App, text: str) -> None:
    app.page.get_by_label("Search or filter").fill(text)
    app.press("Enter")


def test_any_number_of_conditions_hold_together_whatever_sorts(app: App, run: Run):
    """The range of one score, the class, and the order of another score: the question that could not be asked."""
    frame, wanted = run.examples, "digit 3"
    app.open("browse")
    search(app, f'confidence>0.5 class:"{wanted}"')
    confident = frame[(frame["confidence"] > 0.5) & (frame["label_name"] == wanted)]
    listed(app, len(confident))
    app.choose("Sort by", run.measure("loss").title)
    listed(app, len(confident))
    worst = confident.sort_values("loss", ascending=False, kind="stable")
    app.shows_rows("Training examples", [int(row) for row in worst.index[:20]], 20)
    assert address(app) == {"sort": "-loss", "where": f'confidence>0.5 class:"{wanted}"'}

    app.button("Confidence > 0.5").click()  # its chip
    listed(app, int((frame["label_name"] == wanted).sum()))
    app.button("Previous filters").click()
    listed(app, len(confident))
    app.button("Clear filters").click()
    listed(app, len(frame))
    assert address(app) == {"sort": "-loss"}


def test_back_undoes_a_filter_and_a_reload_keeps_it(app: App, run: Run):
    frame = run.examples
    wrong, mine = ~frame["correct"], frame["label_name"] == "digit 1"
    app.open("browse")
    listed(app, len(frame))
    search(app, "prediction:wrong")
    listed(app, int(wrong.sum()))
    search(app, 'class:"digit 1"')
    listed(app, int((wrong & mine).sum()))
    app.page.go_back()
    listed(app, int(wrong.sum()))
    app.page.go_forward()
    listed(app, int((wrong & mine).sum()))
    app.page.reload()
    listed(app, int((wrong & mine).sum()))
    app.go("Training")
    app.go("Browse")
    listed(app, int((wrong & mine).sum()))


@pytest.fixture
def another_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_an_address_opens_the_same_list_in_another_browser(app: App, run: Run, another_page: Page):
    app.open("browse", where="prediction:wrong fsi%>50", sort="class,-loss")
    half = run.examples["fsi"].rank(pct=True) > 0.5
    expected = run.examples[~run.examples["correct"] & half].sort_values("loss", ascending=False, kind="stable")
    expected = expected.sort_values("label_name", kind="stable")
    other = App(another_page, app.address, app.run_id)
    another_page.goto(app.page.url)
    other.shows_rows("Training examples", [int(row) for row in expected.index][:60])
    other.tiles().first.click()
    other.wait_for_path("/example")
    another_page.reload()  # the list to step through is in the address, too
    expect(another_page.get_by_text(f"1 of {len(expected)}")).to_be_visible()


@pytest.mark.parametrize(
    ("text", "said"),
    [("depth>3", "There is no depth to filter by"), ("class:zebra", "No class is called zebra")],
)
def test_what_cannot_be_asked_is_said(app: App, text: str, said: str):
    app.open("browse")
    search(app, text)
    expect(app.page.get_by_text(said)).to_be_visible()
    search(app, "confidence>0")
    expect(app.page.get_by_text(said)).to_have_count(0)
    app.open("browse", where=text)
    expect(app.page.get_by_text(said)).to_be_visible()


def test_the_editor_sets_ranges_and_what_to_sort_by_next(app: App, run: Run):
    app.open("browse")
    app.page.get_by_test_id("stPopover").get_by_text("Filter", exact=True).click()
    app.choose("Filter by", "Margin")
    app.page.locator(".st-key-browse-From-margin input").fill("0")
    app.press("Enter")
    listed(app, int((run.examples["margin"] >= 0).sum()))
    eventually(lambda: address(app).get("where"), "margin>=0.0")
    app.page.get_by_text("As percentiles").click()
    lowest = app.page.get_by_label("From", exact=True)
    expect(lowest.first).to_have_value("")  # that of the percentile; the other is about to go
    expect(lowest).to_have_count(1)
    app.page.get_by_label("To", exact=True).fill("50")
    app.press("Enter")
    eventually(lambda: address(app).get("where"), "margin>=0.0 margin%<=50.0")
    app.page.get_by_role("combobox", name="Then sort by").fill(f"{run.measure('loss').title}, highest")
    app.press("Enter")
    eventually(lambda: address(app).get("sort"), "-fsi,-loss")
