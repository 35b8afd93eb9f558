"""The map: draw around points and browse them, click one and open it; the same with the keyboard."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App
from tests.support.map_driver import at, draw_around, plot


def test_a_lasso_leads_to_its_examples(app: App, run: Run):
    app.open("map")
    inside = draw_around(app, run)
    assert 10 < len(inside) < 61  # one page of tiles
    expect(app.page.get_by_text(f"{len(inside)} selected", exact=True)).to_be_visible()
    tiles = app.tiles(f"{len(inside)} selected")
    expect(tiles).to_have_count(len(inside))
    drawn = plot(app).bounding_box()
    first = tiles.first.bounding_box()
    assert first["x"] >= drawn["x"] + drawn["width"]  # beside the plot
    assert first["y"] < drawn["y"] + drawn["height"]
    app.button(f"Browse all {len(inside)}").click()
    app.wait_for_path("/browse")
    expect(app.tiles()).to_have_count(len(inside))
    rows = {int(re.match(r"#(\d+)", name).group(1)) for name in _names(app.tiles())}
    assert set(run.examples["id"].iloc[sorted(rows)]) == inside

    app.tiles().first.click()
    app.wait_for_path("/example")
    expect(app.page.get_by_text(f"1 of {len(inside)}")).to_be_visible()
    app.go_back_to("Browse")
    app.wait_for_path("/browse")
    expect(app.tiles()).to_have_count(len(inside))
    app.button(f"{len(inside)} selected").click()
    expect(app.tiles()).to_have_count(60)
    expect(app.button("Clear filters")).to_have_count(0)


def _names(tiles: Locator) -> list[str]:
    return [image.get_attribute("alt") or "" for image in tiles.get_by_role("img").all()]


def test_what_is_chosen_outlives_other_colors(app: App, run: Run):
    app.open("map")
    inside = draw_around(app, run)
    expect(app.page.get_by_text(f"{len(inside)} selected", exact=True)).to_be_visible()
    app.choose("Color by", "Functional sample information (F-SI)", exact=False)
    expect(app.page.locator(".js-plotly-plot .infolayer .colorbar")).to_be_visible()
    app.settle()
    expect(app.page.get_by_text(f"{len(inside)} selected", exact=True)).to_be_visible()
    faded = "plot => plot._fullData.map(trace => trace.selectedpoints.length).reduce((a, b) => a + b)"
    assert app.page.locator(".js-plotly-plot").evaluate(faded) == len(inside)


def test_a_click_on_a_point_opens_it(app: App, run: Run):
    lonely = _lonely(run)
    app.open("map")
    app.page.mouse.click(*at(plot(app), *run.examples[["umap_x", "umap_y"]].iloc[lonely]))
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[lonely]


def test_validation_and_test_points_can_be_shown_and_opened(app: App, run: Run):
    app.open("map")
    plot(app)
    app.page.get_by_text("Show validation and test examples").click()
    expect(app.page.locator(".legendtext", has_text="validation")).to_be_visible()
    train = run.examples[["umap_x", "umap_y"]].to_numpy()
    places = run.evaluation[["umap_x", "umap_y"]].to_numpy()
    others = np.concatenate([train, places])
    distances = np.linalg.norm(places[:, None] - others, axis=2)
    distances[np.arange(len(places)), len(train) + np.arange(len(places))] = np.inf
    lonely = int(distances.min(axis=1).argmax())
    app.page.mouse.click(*at(plot(app), *places[lonely]))
    app.wait_for_path("/example")
    expect(app.picture()).to_have_attribute("alt", re.compile(f"^#{lonely} of "))
    assert f"evaluation={lonely}" in app.page.url


@pytest.mark.parametrize("page", ["dark"], indirect=True)
def test_flags_stand_out(app: App, page: Page):
    app.open("map")
    plot(app)
    for color, drawn in (("wrong prediction", "wrong"), ("changed label", "changed")):
        app.choose("Color by", color)
        expect(page.locator(".legendtext").get_by_text(drawn, exact=True)).to_be_visible()


def test_the_keyboard_reaches_the_odd_ones_and_all_of_them(app: App, run: Run):
    app.open("map")
    tiles = app.tiles("Far from the others of their class")
    expect(tiles).to_have_count(24)
    label, odd = run.examples["label"], re.match(r"#(\d+)", _names(tiles)[0])
    assert odd is not None
    row = int(odd.group(1))
    places = run.examples[["umap_x", "umap_y"]]
    offset = np.linalg.norm(places - places.groupby(label).transform("median"), axis=1)
    usual = pd.Series(offset).groupby(label).transform("median")
    assert row == int((offset / usual).argmax())
    tiles.first.focus()
    app.press("Enter")
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[row]
    app.go("Map")
    app.button("Browse all 100").focus()
    app.press("Enter")
    app.wait_for_path("/browse")
    expect(app.button("100 selected")).to_be_visible()
    app.button("Clear filters").click()
    expect(app.page.get_by_text("300 of 300 examples")).to_be_visible()


def test_a_run_without_a_map_says_what_to_do(app: App, run: Run):
    file = run.path / "examples.parquet"
    run.examples.drop(columns=["umap_x", "umap_y"]).to_parquet(file, index=False)
    (run.path / "run.json").touch()  # every stage of a writer ends with it
    app.open("map")
    expect(app.page.get_by_text("This run has no map yet")).to_be_visible()
    expect(app.button("Resume")).to_be_visible()


def test_a_point_under_the_pointer_shows_its_picture_its_id_and_its_label(app: App, run: Run):
    row = _lonely(run)
    app.open("map")
    app.page.mouse.move(*at(_ready(app), *run.examples[["umap_x", "umap_y"]].iloc[row]))
    card = app.page.locator(".card")
    expect(card.locator(".id")).to_have_text(run.examples["id"].iloc[row])
    expect(card.locator(".label")).to_have_text(run.examples["label_name"].iloc[row])
    expect(card.locator("img")).to_have_attribute("src", re.compile(rf"/api/thumb/{run.id}/train/{row}\?"))
    app.page.mouse.move(5, 5)
    expect(card).to_be_hidden()


def test_arrow_keys_go_to_the_nearest_point_and_enter_opens_it(app: App, run: Run):
    app.open("map")
    map_ = _ready(app)
    map_.focus()
    app.press("ArrowRight")  # the one nearest to the middle
    said, seen = app.page.locator(".said"), []
    for key in ("ArrowRight", "ArrowDown"):
        expect(said).to_have_text(re.compile(r"train-\d+, labeled digit \d"))
        seen.append(said.text_content())
        app.press(key)
        expect(said).not_to_have_text(seen[-1])
    last = (said.text_content() or "").partition(",")[0]
    x, y = (run.examples.set_index("id")[name] for name in ("umap_x", "umap_y"))
    before = seen[-1].partition(",")[0]
    assert y[last] < y[before]  # down
    assert x[before] > x[seen[0].partition(",")[0]]  # right
    app.press("Enter")
    app.wait_for_path("/example")
    assert app.example_id == last


def test_the_wheel_scrolls_the_page_until_the_map_was_clicked(app: App, run: Run, page: Page):
    page.set_viewport_size({"width": 1280, "height": 700})
    app.open("map")
    map_ = _ready(app)
    corner = map_.evaluate("plot => [plot._fullLayout.xaxis.range[0], plot._fullLayout.yaxis.range[1]].map(Number)")
    place = [position + 8 for position in at(map_, *corner)]  # where no point is
    spans = "plot => plot._fullLayout.xaxis.range.map(Number)"
    before = map_.evaluate(spans)
    page.mouse.move(*place)
    page.mouse.wheel(0, 120)
    expect(page.get_by_test_id("stMain")).not_to_have_js_property("scrollTop", 0)
    assert map_.evaluate(spans) == before
    page.mouse.wheel(0, -1000)
    expect(page.get_by_test_id("stMain")).to_have_js_property("scrollTop", 0)
    page.mouse.down()  # a drag in an empty place, which opens nothing
    page.mouse.move(place[0] + 5, place[1])
    page.mouse.up()
    page.mouse.wheel(0, 120)
    page.wait_for_function(
        "before => Math.abs(document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range[1] - before[1]) > 0.1",
        arg=before,
    )
    expect(page.get_by_test_id("stMain")).to_have_js_property("scrollTop", 0)


def test_ten_classes_have_ten_colors_in_both_themes(tabs: dict[str, Page], address: str, run: Run):
    for theme, page in tabs.items():
        page.goto(f"{address}/map?run={run.id}")
        page.wait_for_selector(".js-plotly-plot canvas")
        colors = page.locator(".js-plotly-plot").evaluate("plot => plot._fullData.map(trace => trace.marker.color)")
        assert len({color.lower() for color in colors}) == 10, theme
        page.goto("about:blank")


def _lonely(run: Run) -> int:
    """Return the row whose nearest neighbor on the map is farthest."""
    places = run.examples[["umap_x", "umap_y"]].to_numpy()
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(len(places))
    return int(distances.min(axis=1).argmax())


def _ready(app: App) -> Locator:
    """Return the map once its cards and keys work."""
    map_ = plot(app)
    expect(map_).to_have_attribute("role", "application")
    return map_
