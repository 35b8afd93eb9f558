"""Browse: tiles over the whole width in three sizes, and the drawer with the details of one."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, eventually, strongest

_WINDOW = {"width": 1280, "height": 800}


def drawer(page: Page) -> Locator:
    return page.locator(".st-key-drawer")


def boxes(app: App) -> list[dict[str, float]]:
    expect(app.tiles().first).to_be_visible()
    return app.tiles().evaluate_all("all => all.map(tile => tile.getBoundingClientRect().toJSON())")


def ids(run: Run) -> list[str]:
    score = run.scores[0]
    descending = run.measure(score).suspicious != "low"
    return run.examples.sort_values(score, ascending=not descending, kind="stable")["id"].tolist()


def test_the_tiles_fill_the_window_and_begin_near_its_top(app: App, page: Page):
    page.set_viewport_size(_WINDOW)
    app.open("browse")
    found = boxes(app)
    top = page.locator("header").bounding_box()
    assert top is not None
    assert found[0]["top"] - (top["y"] + top["height"]) <= 150
    rows = [row for row in sorted({box["top"] for box in found}) if row + found[0]["height"] <= _WINDOW["height"]]
    assert len(rows) >= 3
    assert sum(box["top"] == rows[0] for box in found) >= 9
    assert max(box["right"] for box in found) >= _WINDOW["width"] - 40
    page.set_viewport_size({"width": 800, "height": 800})
    app.settle()
    expect(app.tiles().first).to_be_in_viewport(ratio=1)


def test_the_size_of_the_tiles_is_remembered(app: App, page: Page):
    page.set_viewport_size(_WINDOW)
    app.open("browse")
    sizes = page.get_by_role("radiogroup", name="Tile size")
    medium = boxes(app)[0]["width"]
    sizes.get_by_text("S", exact=True).click()
    expect(app.tiles()).to_have_count(120)
    assert boxes(app)[0]["width"] < medium
    sizes.get_by_text("L", exact=True).click()
    expect(app.tiles()).to_have_count(60)
    app.settle()
    large = boxes(app)[0]["width"]
    assert large > medium
    app.go("Overview")
    app.go("Browse")
    expect(app.tiles().first).to_be_visible()
    assert boxes(app)[0]["width"] == pytest.approx(large, abs=1)


def test_arrow_keys_show_the_details_of_the_tile_which_escape_closes(app: App, page: Page, run: Run):
    page.set_viewport_size(_WINDOW)
    app.open("browse")
    expect(drawer(page)).to_have_count(0)
    expect(app.button("Details")).to_be_disabled()
    app.tiles().first.focus()
    app.press("ArrowRight")
    order = ids(run)
    expect(drawer(page).get_by_text(order[1], exact=True)).to_be_visible()
    row = run.examples["id"].tolist().index(order[1])
    effects = run.effects(run.effect_methods[0])[row]
    app.shows_rows("Helps most", strongest(effects, 1)[:8])
    app.shows_rows("Harms most", strongest(effects, -1)[:8])
    expect(drawer(page).get_by_text("undecided")).to_be_visible()
    found = [each["id"] for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
    assert found == []
    app.press("d")
    expect(drawer(page).get_by_text("dropped")).to_be_visible()
    app.press("ArrowRight")
    expect(drawer(page).get_by_text(order[2], exact=True)).to_be_visible()
    app.press("Escape")
    expect(drawer(page)).to_have_count(0)
    app.press("ArrowRight")  # the focus is still on the tiles, and the drawer stays closed
    expect(app.tiles().nth(3)).to_be_focused()
    app.settle()
    expect(drawer(page)).to_have_count(0)
    app.press("i")
    expect(drawer(page).get_by_text(order[3], exact=True)).to_be_visible()
    drawer(page).get_by_role("button", name="Close details").focus()
    app.press("Escape")
    expect(drawer(page)).to_have_count(0)
    expect(app.tiles().nth(3)).to_be_focused()


def test_escape_ends_the_selection_first(app: App, page: Page):
    app.open("browse")
    app.tiles().first.focus()
    app.press("ArrowRight")
    expect(drawer(page)).to_be_visible()
    app.press(" ")
    expect(page.get_by_text("1 selected", exact=True)).to_be_visible()
    app.press("Escape")
    expect(page.get_by_text("1 selected", exact=True)).to_have_count(0)
    expect(drawer(page)).to_be_visible()
    app.press("Escape")
    expect(drawer(page)).to_have_count(0)


def test_tiles_stay_under_the_pointer_until_the_details_are_asked_for(app: App, page: Page, run: Run):
    page.set_viewport_size(_WINDOW)
    app.open("browse")
    before = boxes(app)
    app.tiles().nth(12).click(modifiers=["Control"])
    expect(app.button("Details")).to_be_enabled()
    app.settle()
    assert boxes(app) == before
    app.button("Details").click()
    expect(drawer(page).get_by_text(ids(run)[12], exact=True)).to_be_visible()
    app.settle()
    beside = boxes(app)
    app.tiles().nth(3).click(modifiers=["Control"])
    expect(drawer(page).get_by_text(ids(run)[3], exact=True)).to_be_visible()
    assert boxes(app) == beside
    drawer(page).get_by_role("button", name="Open").click()
    app.wait_for_path("/example")
    assert app.example_id == ids(run)[3]


def test_in_a_narrow_window_the_details_lie_below_the_tiles(app: App, page: Page):
    page.set_viewport_size({"width": 800, "height": 800})
    app.open("browse")
    width = boxes(app)[0]["width"]
    app.tiles().first.focus()
    app.press("ArrowRight")
    expect(drawer(page)).to_be_in_viewport()
    app.settle()
    assert boxes(app)[0]["width"] == pytest.approx(width, abs=1)
    app.press("End")
    app.settle()
    eventually(lambda: lies_above(app.tiles().last, drawer(page)), True)
    app.press("i")
    expect(drawer(page)).to_have_count(0)
    app.press("Home")
    app.tiles().nth(17).focus()  # in the lowest row that is seen
    app.press("ArrowRight")
    app.press("i")
    expect(drawer(page)).to_be_visible()
    eventually(lambda: lies_above(app.tiles().nth(18), drawer(page)), True)


def lies_above(tile: Locator, details: Locator) -> bool:
    upper, lower = tile.bounding_box(), details.bounding_box()
    return upper is not None and lower is not None and upper["y"] + upper["height"] <= lower["y"] + 1
