"""No page has a serious fault of accessibility, as axe-core sees it, in either theme."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from attribution_core.runs import Run
from samplescope_app.data.navigation import PAGES
from samplescope_app.wording.keys import HINTS
from tests.support.app_driver import THEMES, App, eventually

# The controls whose text does not fit, or that end beyond the window.
_CUT = """() => [...document.querySelectorAll("button, label, [data-testid=stMetricLabel]")].filter((node) => {
  const box = node.getBoundingClientRect();
  const hides = getComputedStyle(node).overflowX !== "visible";
  return box.width && ((hides && node.scrollWidth > node.clientWidth + 1) || box.right > innerWidth + 1);
}).map((node) => node.textContent.trim())"""
_GRAVE = ("serious", "critical")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault_and_cuts_no_label_in_a_narrow_window(app: App, page: Page, name: str):
    app.open(name)
    if name != "runs":
        _each_help_names_what_it_explains(page)
    _look_at(app, page)
    page.set_viewport_size({"width": 800, "height": 800})  # that of 1600 pixels at a zoom of 200%
    app.settle()
    eventually(lambda: page.evaluate(_CUT), [])  # charts follow the window a moment later
    _look_at(app, page)


@pytest.mark.parametrize("page", ["dark"], indirect=True)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault_in_the_dark(app: App, page: Page, name: str):
    app.open(name)
    _look_at(app, page)


@THEMES
def test_the_question_mark_shows_the_keys_of_the_page(app: App, page: Page):
    app.open("browse")
    app.press("?")
    dialog = page.get_by_role("dialog", name="Keys of this page")
    expect(dialog.get_by_role("row", name="k keep")).to_be_visible()
    theme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    light = dialog.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (theme == "light")
    app.press("Escape")
    expect(dialog).to_have_count(0)
    app.open("map")
    app.press("?")
    expect(dialog.get_by_text("go to the nearest point in that direction")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_hint_is_shown_on_each_page_until_it_is_closed(browser: Browser, address: str, run: Run, theme: str):
    page = browser.new_context(color_scheme=theme).new_page()
    app = App(page, address, run.id)
    app.open("map")
    hint = page.get_by_role("complementary", name="Hint")
    expect(hint.get_by_text(HINTS["map"])).to_be_visible()
    app.go("Browse")
    expect(hint.get_by_text(HINTS["browse"])).to_be_visible()
    _look_at(app, page)
    hint.get_by_role("button", name="Got it").click()
    expect(hint).to_have_count(0)
    page.reload()
    app.settle()
    app.go("Map")
    expect(hint.get_by_text(HINTS["map"])).to_be_visible()
    app.go("Browse")
    app.settle()
    expect(hint).to_have_count(0)
    page.context.close()


def _each_help_names_what_it_explains(page: Page) -> None:
    expect(page.get_by_role("button", name="Help", exact=True)).to_have_count(0)
    names = page.locator("button[aria-label^=Help]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(names) == len(set(names))


def _look_at(app: App, page: Page) -> None:
    closed = page.locator("[data-testid=stExpander] details:not([open]) summary")
    while closed.count():  # what is folded away is not looked at
        closed.first.click()
        app.settle()
    for chart in page.get_by_test_id("stPlotlyChart").all():
        expect(chart.locator(".main-svg").first).to_be_attached()
    found = [
        f"{fault['id']} ({fault['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in _GRAVE
        for node in fault["nodes"]
    ]
    assert found == []
