"""Classes: the matrix and its cells, by mouse, by keyboard and by address."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, strongest

_CLASSES = 10


def _matrix(page: Page):
    return page.locator(".js-plotly-plot").filter(has=page.locator(".heatmaplayer")).first


def _click_cell(page: Page, row: int, column: int) -> None:
    """Near a corner of the cell: the whole of it is to answer, not only its middle."""
    box = _matrix(page).locator(".heatmaplayer .hm").first.bounding_box()
    assert box is not None
    width, height = box["width"] / _CLASSES, box["height"] / _CLASSES
    page.mouse.click(box["x"] + (column + 0.8) * width, box["y"] + (row + 0.25) * height)


def _cell(page: Page) -> tuple[str, str]:
    query = parse_qs(urlsplit(page.url).query)
    return query["from"][0], query["to"][0]


def test_the_numbers_can_be_read_and_the_cells_clicked(app: App, page: Page):
    app.open("classes")
    expect(_matrix(page).locator(".textpoint text")).to_have_count(_CLASSES**2)
    assert _letters_stand_out(page)
    _click_cell(page, 9, 0)
    expect(page.get_by_text("digit 9 harms digit 0")).to_be_visible()


def test_a_cell_opens_the_pairs_behind_it(app: App, run: Run, page: Page):
    app.open("classes")
    for cell in ((3, 4), (5, 0), (3, 4), (3, 3)):
        _click_cell(page, *cell)
        expect(page.get_by_text(f"Strongest pairs: digit {cell[0]} in training → digit {cell[1]}")).to_be_visible()
        app.settle()
        assert _cell(page) == (f"digit {cell[0]}", f"digit {cell[1]}")
    pairs = run.class_pairs
    pairs = pairs[(pairs["method"] == run.effect_methods[0]) & (pairs["train_class"] == "digit 3")]
    pairs = pairs[pairs["evaluation_class"] == "digit 3"]
    strongest = pairs[pairs["effect"] > 0].iloc[0]
    tiles = app.tiles("Most helpful 1")
    expect(tiles).to_have_count(2)
    expect(tiles.nth(0).locator("img")).to_have_attribute("alt", re.compile(f"^#{strongest['train_row']}, "))
    tiles.nth(0).click()
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[strongest["train_row"]]
    page.go_back()
    app.wait_for_path("/classes")
    expect(tiles).to_have_count(2)
    tiles.nth(1).click()
    app.wait_for_path("/example")
    assert parse_qs(urlsplit(page.url).query)["evaluation"] == [str(strongest["evaluation_row"])]


def _letters_stand_out(page: Page) -> bool:
    """Whether numbers on the palest cells differ from the page in lightness."""
    colors = page.evaluate(
        """() => {
            const pale = [...document.querySelectorAll('.textpoint text')].find((e) => e.textContent === '0');
            const fill = getComputedStyle(pale).fill;
            const ground = getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor;
            return [fill, ground].map((css) => css.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3);
        }"""
    )
    return abs(colors[0] - colors[1]) > 150


def test_a_cell_is_chosen_by_keyboard_and_by_address(app: App, page: Page):
    app.open("classes", **{"from": "digit 1", "to": "digit 2"})
    expect(page.get_by_text("Strongest pairs: digit 1 in training → digit 2")).to_be_visible()
    expect(page.get_by_text("digit 1 harms digit 2")).to_be_visible()
    page.get_by_role("combobox", name="Validation class").focus()
    page.keyboard.type("digit 1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("digit 1 helps itself")).to_be_visible()
    app.settle()
    assert _cell(page) == ("digit 1", "digit 1")
    app.go("Browse")
    app.go("Classes")
    expect(page.get_by_text("digit 1 helps itself")).to_be_visible()
    assert _cell(page) == ("digit 1", "digit 1")


def test_the_matrix_in_its_own_unit_and_what_stands_below(app: App, page: Page):
    app.open("classes")
    expect(page.get_by_text("Each mean is divided by")).to_have_count(0)
    expect(_matrix(page).locator(".textpoint text").first).to_have_text("−0.5")
    expect(_matrix(page).locator(".cbtitle")).to_contain_text("10−3 half squared error")
    page.get_by_text("Normalized", exact=True).click()
    expect(page.get_by_text("Each mean is divided by")).to_be_visible()
    expect(_matrix(page).locator(".textpoint text").first).to_have_text("−1")
    expect(page.locator(".js-plotly-plot .barlayer .trace")).to_have_count(2)
    expect(page.get_by_text("Loss without each class")).to_be_visible()
    expect(page.get_by_text("Largest contributions", exact=True)).to_be_visible()


def _mistakes(run: Run) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of the validation examples that are predicted wrong, by label and prediction."""
    table = run.evaluation.iloc[: run.effects(run.effect_methods[0]).shape[1]]
    wrong = table[table["predicted_name"] != table["label_name"]]
    return {pair: rows.index.to_numpy() for pair, rows in wrong.groupby(["label_name", "predicted_name"])}


def test_the_causes_of_a_cell_of_mistakes(app: App, run: Run, page: Page):
    cells = _mistakes(run)
    names = sorted(cells, key=lambda pair: -len(cells[pair]))
    app.open("classes")
    effects = np.asarray(run.effects(run.effect_methods[0])[:])
    for place, (label, predicted) in enumerate(names[:2]):
        rows = cells[label, predicted]
        if place:
            start = time.monotonic()
            app.choose("Mistakes", f"{label} taken for {predicted} ({len(rows)})")
            assert time.monotonic() - start < 5  # a second for the page; the machine may have other work
        expect(app.tiles("The mistakes")).to_have_count(min(12, len(rows)))
        mean = effects[:, rows].mean(axis=1)
        app.shows_rows("Cause them most", strongest(mean, -1))
        app.shows_rows("Prevent them most", strongest(mean, 1))
    harmful = int((mean < 0).sum())
    app.button(f"Browse the first {min(100, harmful)}").click()
    app.wait_for_path("/browse")
    expect(page.get_by_text(f"{min(100, harmful)} selected").first).to_be_visible()


def test_a_cell_of_mistakes_and_a_row_of_the_table_open_their_tiles(app: App, run: Run, page: Page):
    cells = _mistakes(run)
    label, predicted = max(cells, key=lambda pair: len(cells[pair]))
    app.open("classes")
    app.button(f"Browse all {len(cells[label, predicted])} in validation").click()
    app.wait_for_path("/browse")
    shown = app.tiles("Validation examples")
    expect(shown).to_have_count(len(cells[label, predicted]))
    expect(shown.first).to_have_accessible_name(re.compile(f"labeled {label}, predicted {predicted}"))
    app.open("classes")
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 60, box["y"] + 38 + 17)  # the first row is the most frequent class
    app.wait_for_path("/browse")
    largest = run.examples["label_name"].value_counts()
    expect(page.get_by_text(f"{largest.max()} of {len(run.examples)} examples")).to_be_visible()


def test_a_click_chooses_a_cell_of_mistakes(app: App, run: Run, page: Page):
    cells = _mistakes(run)
    label, predicted = sorted(cells, key=lambda pair: -len(cells[pair]))[-1]
    app.open("classes")
    figure = page.locator(".js-plotly-plot").filter(has=page.locator(".heatmaplayer")).nth(1)
    box = figure.locator(".heatmaplayer .hm").first.bounding_box()
    assert box is not None
    row, column = run.class_names.index(label), run.class_names.index(predicted)
    width, height = box["width"] / _CLASSES, box["height"] / _CLASSES
    page.mouse.click(box["x"] + (column + 0.5) * width, box["y"] + (row + 0.5) * height)
    chosen = page.get_by_role("combobox", name="Mistakes")
    expect(chosen).to_have_value(f"{label} taken for {predicted} ({len(cells[label, predicted])})")
