"""The runs of a folder: named, noted, found, deleted, put back and switched between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.app_driver import App

Serve = Callable[[Path], str]


@pytest.fixture
def runs(page: Page, serve: Serve, runs_folder: Path, tmp_path: Path) -> Iterator[App]:
    """The page Runs over a folder of two runs, first and second."""
    folder = tmp_path / "runs"
    for name in ("first", "second"):
        shutil.copytree(runs_folder / "digits", folder / name)
    app = App(page, serve(folder), "first")
    page.goto(f"{app.address}/runs")
    app.settle()
    app.wait_for_pictures()
    yield app
    page.goto("about:blank")


def test_a_run_gets_a_title_and_notes_and_is_found_by_them(runs: App, page: Page):
    page.get_by_role("button", name="Manage").first.click()
    page.get_by_label("Title").fill("Night *shift*")
    page.get_by_label("Notes").fill("with the <b>old</b> labels")
    runs.button("Save").click()
    expect(page.get_by_text("Night *shift*", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stMarkdown").get_by_text("with the <b>old</b> labels")).to_be_visible()
    search = page.get_by_label("Search")
    search.fill("OLD night")
    search.press("Enter")
    expect(runs.button("Manage")).to_have_count(1)
    search.fill("nothing like it")
    search.press("Enter")
    expect(page.get_by_text("No run contains all of these words.")).to_be_visible()


def test_a_deleted_run_is_undone_at_once_or_later(runs: App, page: Page):
    expect(runs.button("Manage")).to_have_count(2)
    for back in ("Undo", "Put back"):
        runs.settle()
        runs.wait_for_pictures()  # that of a deleted run would not be found
        page.get_by_role("button", name="Manage").first.click()
        runs.button("Delete").click()
        expect(page.get_by_text("is in the trash.")).to_be_visible()
        expect(runs.button("Manage")).to_have_count(1)
        expect(page.get_by_text("1 deleted run")).to_be_visible()
        runs.button(back).click()
        expect(runs.button("Manage")).to_have_count(2)
        expect(page.get_by_text("1 deleted run")).to_have_count(0)


def test_the_header_opens_another_run_on_the_same_page(runs: App, page: Page):
    runs.open("map")
    expect(page.get_by_role("combobox", name="Run")).to_be_visible()
    runs.choose("Run", "second", exact=False)
    page.wait_for_url("**/map?run=second")
    runs.open("example", id="train-00007")
    page.get_by_role("combobox", name="Run").click()
    page.get_by_role("option", name="second").click()
    page.wait_for_url("**/example?run=second*")
    assert "train-00007" not in page.url
