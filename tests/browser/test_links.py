"""Tiles are links, and ways back lead where one came from."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page

from attribution_core.runs import Run
from tests.support.app_driver import App


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def opened_elsewhere(page: Page, tile: Locator, **how: object) -> App:
    """Click a tile so that it opens in another tab, and return that tab."""
    with page.context.expect_page() as other:
        tile.click(**how)  # type: ignore[arg-type]
    return App(other.value, "", "")


def test_a_tile_opens_in_another_tab(app: App, page: Page, run: Run):
    app.open("browse")
    tile = app.tiles().nth(3)
    address = tile.get_attribute("href") or ""
    assert urlsplit(address).path == "/example"
    assert query(address)["run"] == [run.id]
    other = opened_elsewhere(page, tile, button="middle")
    other.wait_for_path("/example")
    assert query(other.page.url)["id"] == query(address)["id"]
    assert app.path == "/browse"


def test_ctrl_click_selects_in_a_grid_and_opens_elsewhere_in_a_strip(app: App, page: Page, run: Run):
    app.open("browse")
    app.tiles().nth(2).click(modifiers=["Control"])
    assert app.tiles().nth(2).get_attribute("aria-selected") == "true"
    assert len(page.context.pages) == 1
    app.open("overview")
    other = opened_elsewhere(page, app.tiles("Most informative").first, modifiers=["Control"])
    other.wait_for_path("/example")
    assert app.path == "/overview"


def test_a_validation_tile_leads_to_its_own_page(app: App, page: Page, run: Run):
    app.open("example", id=run.examples["id"].iloc[0])
    tile = app.tiles("Helps most").first
    assert query(tile.get_attribute("href") or "")["evaluation"][0].isdecimal()
    other = opened_elsewhere(page, tile, button="middle")
    other.wait_for_path("/example")


def test_a_click_opens_a_tile_without_loading_the_app_again(app: App, page: Page):
    app.open("browse")
    page.evaluate("window.loadedOnce = true")
    app.tiles().nth(1).click()
    app.wait_for_path("/example")
    assert page.evaluate("window.loadedOnce")
