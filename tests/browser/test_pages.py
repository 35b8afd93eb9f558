"""Every page in both themes, and what a page shows where there is little to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from samplescope_app.components import modules
from tests.support.app_driver import THEMES, App
from tests.support.sample_run import make_run

Serve = Callable[[Path], str]


@THEMES
def test_every_page_draws(app: App, page: Page):
    app.open("overview")
    for name in ("Most informative", "Least informative"):
        expect(app.tiles(name)).to_have_count(24)
    expect(page.get_by_text("changed on purpose")).to_be_visible()
    for name in ("Browse", "Example", "Review", "Runs"):
        app.go(name)
        expect(page.locator("img").first).to_be_visible()
        broken = page.evaluate(
            "() => [...document.querySelectorAll('img')].filter(i => i.complete && !i.naturalWidth).length"
        )
        assert broken == 0


@THEMES
def test_text_can_be_read(app: App, page: Page):
    """Captions take their color from the theme."""
    app.open("browse")
    caption = app.tiles().first.locator(".label")
    color = caption.evaluate("e => getComputedStyle(e).color")
    background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert abs(_lightness(color) - _lightness(background)) > 120


@THEMES
def test_a_dialog_has_the_theme(app: App, page: Page):
    """Streamlit draws it outside of the element that has the theme."""
    app.open("browse")
    for tile in (0, 1):
        app.tiles().nth(tile).click(modifiers=["Control"])
    app.button("Side by side").click()
    value = page.get_by_role("dialog").locator(".beside small").first
    background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert abs(_lightness(value.evaluate("e => getComputedStyle(e).color")) - _lightness(background)) > 120


def _lightness(css: str) -> float:
    channels = css[css.index("(") + 1 : -1].split(",")[:3]
    return sum(float(channel) for channel in channels) / 3


def test_every_image_has_a_description(app: App, page: Page):
    app.open("overview")
    expect(app.tiles("Most informative")).to_have_count(24)
    name = app.tiles("Most informative").first.get_by_role("img").get_attribute("alt")
    assert name is not None
    assert name.startswith("#")
    assert "labeled digit" in name
    assert "functional sample information (F-SI)" in name


def test_the_list_of_runs_marks_damaged_and_unfinished_ones(page: Page, tmp_path: Path, serve: Serve):
    make_run(tmp_path / "runs" / "good", n=40)
    make_run(tmp_path / "runs" / "unfinished", n=40, scored=False)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "run.json").write_text("{")
    url = serve(tmp_path / "runs")
    app = App(page, url, "good")
    page.goto(url)
    app.wait_for_path("/runs")
    for text in ("complete", "unfinished", "damaged"):
        expect(app.badge(text)).to_be_visible()
    page.locator(".gallery.mosaic").first.click()
    app.wait_for_path("/overview")


def test_an_empty_folder_says_what_to_do(page: Page, tmp_path: Path, serve: Serve):
    (tmp_path / "runs").mkdir()
    url = serve(tmp_path / "runs")
    page.goto(url)
    expect(page.get_by_text("There are no runs in this folder yet")).to_be_visible()
    expect(page.get_by_text("samplescope score DATA")).to_be_visible()
    page.goto(f"{url}/browse")
    expect(page.get_by_text("No run is open")).to_be_visible()


def test_a_run_opens_by_itself(page: Page, tmp_path: Path, serve: Serve):
    make_run(tmp_path / "runs" / "mine", n=40)
    url = serve(tmp_path / "runs" / "mine")
    page.goto(url)
    App(page, url, "mine").wait_for_path("/overview")
    expect(page.get_by_text("digits, mine")).to_be_visible()
    started = page.evaluate("""() => {
      const parsed = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
      const asked = performance.getEntriesByType("resource").filter((entry) => entry.startTime < parsed);
      return asked.map((entry) => new URL(entry.name).pathname);
    }""")
    assert {modules.address(name) for name in modules.SCRIPTS} <= set(started)  # before Streamlit runs the page


def section(page: Page, title: str):
    """An expander of the page, opened."""
    found = page.get_by_test_id("stExpander").filter(has_text=title)
    found.get_by_text(title).click()
    return found


def test_near_duplicates_stand_side_by_side_and_open(app: App, page: Page):
    app.open("overview")
    app.settle()
    twice = section(page, "Near-duplicates: 2 pairs")
    expect(twice.get_by_text("2 of the pairs have different labels")).to_be_visible()
    tiles = twice.get_by_role("option")
    expect(tiles).to_have_count(4)
    tiles.nth(1).click()
    app.wait_for_path("/example")
    expect(page.get_by_text("train-00001").first).to_be_visible()
