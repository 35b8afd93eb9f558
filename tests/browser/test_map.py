"""The map: draw around points and browse them, click one and open it; the same with the keyboard."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import THEMES, App
from tests.support.map_driver import at, draw_around, plot


@THEMES
def test_a_lasso_leads_to_its_examples(app: App, run: Run):
    app.open("map")
    inside = draw_around(app, run)
    assert 10 < len(inside) < 61  # one page of tiles
    expect(app.page.get_by_text(f"{len(inside)} selected", exact=True)).to_be_visible()
    expect(app.tiles(f"{len(inside)} selected")).to_have_count(min(24, len(inside)))
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
    places = run.examples[["umap_x", "umap_y"]].to_numpy()
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(len(places))
    lonely = int(distances.min(axis=1).argmax())
    app.open("map")
    app.page.mouse.click(*at(plot(app), *places[lonely]))
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
