"""A table whose target is a number: every page, and the ways to filter by it and to correct it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from samplescope_app.wording import labels
from tests.support.app_driver import App
from tests.support.app_server import served
from tests.support.tables import TARGET, make_prices, write_table
from tests.support.workers import made_once

_HOSTILE = f"*{TARGET}* <b>"  # what a column may be called, and pages must show as it is
_PAGES = ("overview", "browse", "map", "classes", "training", "summarize", "review", "trust", "compare", "runs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ by the seed, of rows with prices, some of them wrong; a copy for each worker."""
    root = tmp_path_factory.mktemp("values")
    shutil.copytree(made_once(tmp_path_factory, "prices", _score), root, dirs_exist_ok=True)
    return root / "runs"


def _score(root: Path) -> None:
    root.mkdir()
    data = str(write_table(make_prices().rename(columns={TARGET: _HOSTILE}), root / "prices.csv"))
    quick = {"data": data, "target": _HOSTILE, "model": "linear"}
    for seed in (0, 1):
        out = root / "runs" / f"seed-{seed}"
        score(ScoreConfig(out=out, seed=seed, recipe=Recipe(epochs=30, loss="mse", seed=seed), **quick))


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder, folder.with_name("server.log")) as url:
        yield url


@pytest.fixture
def app(page: Page, address: str, folder: Path) -> Iterator[App]:
    """The app over the first run, about which nothing is decided."""
    yield App(page, address, "seed-0")
    page.goto("about:blank")
    while Run.open(folder / "seed-0").decisions.undo():
        pass


def typed(app: App, label: str, value: str) -> None:
    """Types a number and leaves the field."""
    field = app.page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")
    app.settle()


def example(app: App, example_id: str) -> None:
    app.open("example", id=example_id)
    expect(app.page.get_by_role("heading", name=example_id)).to_be_visible()
    app.settle()


def test_every_page_draws(app: App, page: Page, folder: Path):
    run = Run.open(folder / "seed-0")
    low, high = (labels.value_text(run, value) for value in run.examples["label"].agg(["min", "max"]))
    facts = f"{len(run.examples)} training rows, {_HOSTILE} from {low} to {high}"
    for path in _PAGES:
        app.open(path)
        expect(page.get_by_text(facts).first).to_be_visible()
        expect(page.get_by_text(f"test R² {run.quality['test']:.1%}").first).to_be_visible()
    app.open("example", evaluation="2")
    expect(page.get_by_text("validation example")).to_be_visible()
    expect(page.get_by_text("half squared error").first).to_be_visible()
    app.settle()


def test_a_tile_shows_the_value_and_what_the_model_says(app: App, folder: Path):
    run = Run.open(folder / "seed-0")
    row = run.examples.sort_values("label_quality").iloc[0].to_dict()
    app.open("overview")
    tile = app.tiles("Most suspicious: lowest label quality").first
    expect(tile.locator(".label")).to_have_text(labels.value_text(run, row["label"]))
    expect(tile.locator(".predicted")).to_have_text(labels.value_text(run, row["predicted"]))


def test_browse_narrows_to_values(app: App, page: Page, folder: Path):
    values = Run.open(folder / "seed-0").examples["label"]
    app.open("browse")
    expect(page.get_by_label("Class")).to_have_count(0)
    page.get_by_test_id("stPopover").get_by_text("Filter", exact=True).click()
    app.choose("Filter by", _HOSTILE)
    expect(page.get_by_text("As percentiles")).to_have_count(
        0
    )  # which only a score has: the fields are the values' now
    typed(app, "From", "150")
    expect(page.get_by_text(f"{(values >= 150).sum()} of {len(values)} examples")).to_be_visible()
    typed(app, "To", "250")
    expect(page.get_by_text(f"{values.between(150, 250).sum()} of {len(values)} examples")).to_be_visible()
    expect(app.button(f"{_HOSTILE} ≥ 150 and ≤ 250")).to_be_visible()
    expect(app.tiles()).to_have_count(int(values.between(150, 250).sum()))
    app.press("Escape")  # closes the editor, which lies over the button
    app.button("Clear filters").click()
    expect(page.get_by_text(f"{len(values)} of {len(values)} examples")).to_be_visible()


def test_a_value_is_typed_taken_from_the_model_and_taken_back(app: App, page: Page, folder: Path):
    run = Run.open(folder / "seed-0")
    row = run.examples.sort_values("error", ascending=False).iloc[0].to_dict()
    suggested = labels.suggestion(run, row)
    example(app, row["id"])
    predicted = f"Predicted {labels.value_text(run, row['predicted'])}"
    expect(page.get_by_text(predicted)).to_contain_text(f"({abs(row['residual']) / run.values.scale:.2f} SD)")
    typed(app, "New value", "123.4567")
    app.button("Set value").click()
    expect(app.badge("relabeled 123.457")).to_be_visible()
    assert run.cleaned_labels().set_index("id").loc[row["id"], "label"] == 123.4567
    app.button("Undo").click()
    expect(app.badge("undecided")).to_be_visible()
    page.locator(".gallery.picture").click()  # out of the field, where letters are letters
    app.press("r")
    expect(app.badge(f"relabeled {suggested:.6g}")).to_be_visible()
    assert run.cleaned_labels().set_index("id").loc[row["id"], "label"] == suggested
    app.press("u")
    expect(app.badge("undecided")).to_be_visible()


def test_review_moves_to_the_next_example_once_a_value_is_set(app: App, page: Page, folder: Path):
    run = Run.open(folder / "seed-0")
    first, second = run.examples.sort_values("fsi", ascending=False)["id"].iloc[:2]
    app.open("review")
    expect(page.get_by_text(first, exact=True)).to_be_visible()
    app.settle()
    typed(app, "New value", "99.5")
    app.button("Set value").click()
    expect(page.get_by_text(second, exact=True)).to_be_visible()
    app.settle()
    assert run.cleaned_labels().set_index("id").loc[first, ["action", "label"]].tolist() == ["relabel", 99.5]


def test_a_cell_of_ranges_has_its_pairs(app: App, page: Page, folder: Path):
    lowest, highest = (Run.open(folder / "seed-0").strata_names[end] for end in (0, -1))
    app.open("classes", **{"from": lowest, "to": highest})
    expect(page.get_by_text(f"Strongest pairs: {lowest} in training → {highest} in validation")).to_be_visible()
    expect(page.get_by_text("Training range")).to_be_visible()
