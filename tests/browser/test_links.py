"""Tiles are links, and ways back lead where one came from."""

from __future__ import annotations

import functools
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, eventually


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def same(url: str, other: str) -> bool:
    """Whether two addresses are the same but for the order of their parameters."""
    return urlsplit(url).path == urlsplit(other).path and query(url) == query(other)


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
    other = opened_elsewhere(page, app.tiles("Least informative").first, modifiers=["Control"])
    other.wait_for_path("/example")
    assert query(other.page.url)["sort"] == ["fsi"]  # there, the next one is the next of the strip
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


def scroll(app: App) -> int:
    return app.page.get_by_test_id("stMain").evaluate("element => Math.round(element.scrollTop)")


def scrolled(app: App, top: int) -> int:
    """Scroll as a user does, with the wheel, and return the position."""
    expect(app.tiles().last).to_be_attached()  # the page is as long as it gets
    app.settle()
    app.page.wait_for_timeout(500)  # the wheel turns nothing while the page opens
    app.page.mouse.move(600, 400)
    app.page.mouse.wheel(0, top)
    eventually(lambda: scroll(app) > 0, True)
    app.page.wait_for_timeout(200)
    return scroll(app)


def trail(app: App) -> list[str]:
    return app.page.locator(".st-key-trail a").all_inner_texts()


def test_a_chain_of_influencers_leads_back_to_the_same_place(app: App, page: Page, run: Run):
    """Three examples deep from a scrolled grid; b and Back both lead through all of them to that place."""
    page.set_viewport_size({"width": 1280, "height": 600})
    app.open("browse")
    scrolled(app, 700)
    app.tiles().nth(30).scroll_into_view_if_needed()
    place = scroll(app)
    app.tiles().nth(30).click()
    app.wait_for_path("/example")
    chain = [page.url]
    for strip in ("Helps most", "Most harmful"):
        eventually(lambda: scroll(app), 0)
        app.tiles(strip).nth(1).scroll_into_view_if_needed()
        app.tiles(strip).nth(1).click()
        page.wait_for_url(lambda url: url != chain[-1])
        app.wait_for_path("/example")
        chain.append(page.url)
    eventually(lambda: len(trail(app)), 3)
    for url in (chain[1], chain[0]):
        app.press("b")
        page.wait_for_url(functools.partial(same, url))
        app.wait_for_path("/example")
    app.press("b")
    app.wait_for_path("/browse")
    assert "id" not in query(page.url)
    eventually(lambda: scroll(app), place)
    for url in (chain[0], chain[1], chain[2]):
        page.go_back()
        page.wait_for_url(functools.partial(same, url))
        app.wait_for_path("/example")
    page.locator(".st-key-trail a").first.click()
    app.wait_for_path("/browse")
    eventually(lambda: scroll(app), place)


def test_the_trail_of_an_address_is_there_after_a_reload(app: App, page: Page, run: Run):
    app.open("example", id=run.examples["id"].iloc[3], via="overview.12.e5.nonsense.99999")
    eventually(lambda: [text.split("\n")[-1] for text in trail(app)], ["Overview", "#12", "#5 of validation b"])
    page.locator(".st-key-trail a").nth(1).click()
    app.shows(12)
    page.locator(".st-key-trail a").first.click()
    app.wait_for_path("/overview")
    assert set(query(page.url)) == {"run"}


def test_an_example_opens_at_its_top(app: App, page: Page, run: Run):
    page.set_viewport_size({"width": 1280, "height": 600})
    for place in (300, 500, 700, 900):
        app.open("browse")
        scrolled(app, place)
        app.tiles().nth(place // 20).click()
        app.wait_for_path("/example")
        eventually(lambda: scroll(app), 0)


def test_pages_keep_no_query_of_an_example(app: App, page: Page, run: Run):
    app.open("example", id=run.examples["id"].iloc[3])
    for name in ("Map", "Review", "Browse"):
        app.go(name)
        eventually(lambda: {"id", "via", "evaluation"} & set(query(page.url)), set())
    page.go_back()
    app.wait_for_path("/review")
    page.go_back()
    app.wait_for_path("/map")
    page.go_back()
    app.wait_for_path("/example")
