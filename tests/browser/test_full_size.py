"""A picture at full size: the original where its file still lies, else what the run keeps; by the mouse and by keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App
from tests.support.builders import encoded

_WINDOW = {"width": 1280, "height": 800}


@pytest.fixture
def original(run: Run, tmp_path: Path) -> str:
    """The id of an example whose original, of 640 x 480 pixels, lies in the folder that the run names."""
    folder, example = tmp_path / "data", run.examples["id"].iloc[4]
    folder.mkdir()
    (folder / example).write_bytes(encoded(1, size=(480, 640)))
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["dataset"]["location"] = str(folder)
    file.write_text(json.dumps(manifest))
    return example


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Picture at full size")


def scale(page: Page) -> int:
    found = re.search(r"at ([\d,]+)%", dialog(page).get_by_role("status").inner_text())
    assert found is not None
    return int(found.group(1))


def middle(page: Page) -> tuple[float, float]:
    box = dialog(page).get_by_role("img").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_original_is_zoomed_and_moved_by_keys(app: App, page: Page, original: str):
    page.set_viewport_size(_WINDOW)
    app.open("example", id=original)
    expect(app.picture()).to_be_visible()
    app.press("z")
    expect(dialog(page).get_by_text(f"The original, {original}: 640 × 480 pixels")).to_be_visible()
    fitting = scale(page)
    assert fitting > 100
    app.press("1")
    assert scale(page) == 100
    app.press("+")
    assert scale(page) == 125
    app.press("-")
    app.press("-")
    assert scale(page) == 80
    x, y = middle(page)
    app.press("ArrowRight")
    app.press("ArrowDown")
    assert middle(page) == pytest.approx((x - 60, y - 60), abs=1)
    app.press("0")
    assert scale(page) == fitting
    found = [each["id"] for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
    assert found == []
    app.press("Escape")
    expect(dialog(page)).to_have_count(0)
    assert app.example_id == original  # the arrows did not step


def test_the_original_is_zoomed_and_moved_by_the_mouse(app: App, page: Page, original: str):
    page.set_viewport_size(_WINDOW)
    app.open("example", id=original)
    app.picture().click()
    expect(dialog(page).get_by_text("640 × 480 pixels")).to_be_visible()
    fitting, (x, y) = scale(page), middle(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    expect(dialog(page).get_by_role("status")).to_contain_text(f"at {round(fitting * 1.25)}%")
    page.mouse.down()
    page.mouse.move(x + 50, y + 30, steps=4)
    page.mouse.up()
    assert middle(page) == pytest.approx((x + 50, y + 30), abs=2)
    dialog(page).get_by_role("button", name="Actual size").click()
    assert scale(page) == 100
    dialog(page).get_by_role("button", name="Close").click()
    expect(dialog(page)).to_have_count(0)
    page.get_by_role("button", name="Full size").click()
    expect(dialog(page)).to_be_visible()


def test_without_an_original_it_shows_what_the_run_keeps_and_says_so(app: App, page: Page, run: Run):
    app.open("example", id=run.examples["id"].iloc[4])
    app.press("z")
    expect(dialog(page).get_by_text("The picture that the run keeps; it does not know a larger one:")).to_be_visible()


def test_the_picture_of_the_details_opens_and_escape_closes_one_thing_at_a_time(
    app: App, page: Page, run: Run, original: str
):
    app.open("browse")
    app.page.get_by_label("Search or filter").fill(original)
    app.press("Enter")
    expect(app.tiles()).to_have_count(1)
    app.settle()
    app.tiles().first.focus()
    expect(page.locator(".st-key-drawer")).to_be_visible()
    app.settle()
    app.press("z")
    expect(dialog(page).get_by_text("640 × 480 pixels")).to_be_visible()
    app.press("d")  # about nothing while the dialog is open
    app.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(app.tiles().first).to_be_focused()
    app.settle()
    assert len(run.decisions.current()) == 0
    app.press("Escape")
    expect(page.locator(".st-key-drawer")).to_have_count(0)
