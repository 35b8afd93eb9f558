"""Texts and rows of tables stand where images stand, on every page that shows examples."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from tests.support.app_driver import App, eventually
from tests.support.app_server import served
from tests.support.tables import make_table, make_texts, write_table
from tests.support.workers import made_once

_MARKUP = "<b>bold</b> <img src=x onerror=alert(1)> a warm and clever film"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: texts, one of them hostile, and rows of a table; a copy for each worker."""
    root = tmp_path_factory.mktemp("others")
    shutil.copytree(made_once(tmp_path_factory, "texts-and-a-table", _score), root, dirs_exist_ok=True)
    return root / "runs"


def _score(root: Path) -> None:
    root.mkdir()
    frame = make_texts(60)
    frame.loc[0, "text"] = _MARKUP
    quick = {"model": "linear", "recipe": Recipe(epochs=3)}
    score(ScoreConfig(data=str(write_table(frame, root / "texts.csv")), out=root / "runs" / "texts", **quick))
    score(ScoreConfig(data=str(write_table(make_table(60), root / "table.csv")), out=root / "runs" / "table", **quick))


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder, folder.with_name("server.log")) as url:
        yield url


@pytest.mark.parametrize("name", ["texts", "table"])
def test_every_page_shows_them(page: Page, address: str, folder: Path, name: str):
    run = Run.open(folder / name)
    app = App(page, address, name)
    app.open("overview")
    order = run.examples.sort_values("label_quality", ascending=False, kind="stable")
    first = order.iloc[0]
    tile = app.tiles("Highest label quality").first
    expect(tile.locator(".text")).to_contain_text(first["text"].split("\n")[0])
    expect(tile).to_have_accessible_name(
        re.compile(rf"labeled {first['label_name']}.*: {re.escape(first['text'][:6])}")
    )
    expect(page.get_by_text(f"training {'texts' if name == 'texts' else 'rows'} in 2 classes")).to_be_visible()
    tile.click()
    app.page.wait_for_url("**/example?**")
    app.settle()
    expect(page.locator(".gallery.picture .text")).to_contain_text(first["text"].split("\n")[0])
    expect(app.tiles("Helps most").first.locator(".text")).not_to_be_empty()
    expect(app.tiles("Nearest training examples").first.locator(".text")).not_to_be_empty()
    app.press("ArrowRight")
    second = order.iloc[1]
    expect(page.locator(".gallery.picture .text")).to_contain_text(second["text"].split("\n")[0])
    for path in ("browse", "map", "classes", "training", "summarize", "review", "trust"):
        app.open(path)
        expect(page.locator("img[src*='/api/thumb']")).to_have_count(0)
    app.open("review")
    shown = page.locator(".gallery.picture .text")
    before = shown.inner_text()
    app.press("d")
    expect(shown).not_to_have_text(before)
    eventually(lambda: run.decisions.counts()["drop"], 1)
    run.decisions.undo()


def test_markup_in_a_text_stays_text(page: Page, address: str, folder: Path):
    run = Run.open(folder / "texts")
    row = run.examples[run.examples["text"] == _MARKUP]
    app = App(page, address, "texts")
    split = "id" if len(row) else "evaluation"
    where = row["id"].iloc[0] if len(row) else str(int((run.evaluation["text"] == _MARKUP).to_numpy().argmax()))
    app.open("example", **{split: where})
    expect(page.locator(".gallery.picture .text")).to_have_text(_MARKUP)
    expect(page.locator(".gallery.picture img")).to_have_count(0)
