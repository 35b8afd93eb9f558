"""Compare, and the loop that ends there: decide in Review, retrain on what is left, see what it did."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from samplescope_app.data import comparison
from tests.support.app_driver import App
from tests.support.sample_run import make_data

Serve = Callable[[Path], str]


def test_the_loop_from_a_decision_to_the_difference_that_it_made(page: Page, tmp_path: Path, serve: Serve):
    folder = tmp_path / "runs"
    folder.mkdir()
    recipe = Recipe(epochs=2, learning_rate=0.2, batch_size=32)
    lean = {"influence": "off", "sensitivity": "off", "contributions": "off", "map": "off"}
    data = str(make_data(tmp_path / "data.parquet", 120))
    run = score(ScoreConfig(data=data, out=folder / "first", hidden=(16,), recipe=recipe, **lean))
    app = App(page, serve(folder / "first"), "first")
    app.open("review")
    expect(page.get_by_text("Drop or relabel some examples first")).to_be_visible()
    order = run.examples.sort_values("label_quality")
    for number, key in enumerate(("d", "d", str(_next(order["label"].iloc[2])))):
        app.shows(int(order.index[number]))
        app.press(key)
    app.shows(int(order.index[3]))
    expect(page.get_by_text("A new run on 118 training examples, 2 dropped and 1 relabeled")).to_be_visible()
    expect(page.get_by_text("like this run")).to_be_visible()
    page.get_by_role("button", name="Retrain on the cleaned set").click()
    expect(page.get_by_text("Retrained with the current decisions")).to_be_visible(timeout=90_000)
    child = Run.open(folder / "first-cleaned")
    was, now = (each.manifest.metrics["test_accuracy"] for each in (run, child))
    expect(page.get_by_text(f"Test accuracy {was:.1%} → {now:.1%}")).to_be_visible()
    expect(page.get_by_text(re.compile("on the same 30 test examples, which cleaning does not change"))).to_be_visible()
    assert set(run.examples["id"]) - set(child.examples["id"]) == set(order["id"].iloc[:2])

    page.get_by_role("button", name="Compare runs").click()
    app.wait_for_path("/compare")
    expect(page.get_by_text("first-cleaned was retrained on the cleaned set of first")).to_be_visible()
    expect(page.get_by_text("118 training examples in both (1 with another label), 2 before only")).to_be_visible()
    app.open("review")
    app.press("u")
    expect(page.get_by_text("A new run on 118 training examples, 2 dropped and 0 relabeled")).to_be_visible()


@pytest.fixture
def other(run: Run) -> Iterator[Run]:
    """A run of the same data as ``run`` beside it, whose scores differ."""
    path, rng = run.path.with_name(f"{run.id}-other"), np.random.default_rng(1)
    shutil.copytree(run.path, path)
    scores = {name: run.examples[name] * rng.lognormal(0, 1, len(run.examples)) for name in ("fsi", "sensitivity")}
    run.examples.assign(**scores).to_parquet(path / "examples.parquet", index=False)
    yield Run.open(path)
    shutil.rmtree(path)


def test_two_runs_side_by_side(other: Run, app: App, page: Page, run: Run):
    app.open("compare", other=other.id)
    expect(page.get_by_text("300 training examples in both (0 with another label)")).to_be_visible()
    plot = page.locator(".js-plotly-plot").first
    expect(plot.locator("canvas").first).to_be_visible()
    expect(plot.locator(".legendtext", has_text="right in both")).to_be_visible()
    expect(plot.locator(".legendtext", has_text="same score")).to_be_visible()
    expect(page.get_by_text("Agreement of the scores")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(2)  # and no settings differ
    app.choose("Score", "Sensitivity (MPE)")
    expect(page.get_by_text("Sensitivity (MPE), before and after")).to_be_visible()
    page.get_by_text("Label", exact=True).click()
    expect(plot.locator(".legendtext", has_text="same label")).to_be_visible()
    before, after = comparison.in_order(run, other)
    moved = after.examples["sensitivity"].rank(pct=True) - before.examples["sensitivity"].rank(pct=True)
    top = int(moved.to_numpy().argmax())
    app.settle()
    expect(app.tiles("Rose most").first).to_have_accessible_name(re.compile(f"#{top},"))
    app.tiles("Rose most").first.click()
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"][top]


def test_a_point_leads_to_its_example(other: Run, app: App, page: Page, run: Run):
    app.open("compare", other=other.id)
    plot = page.locator(".js-plotly-plot").first
    expect(plot.locator("canvas").first).to_be_visible()
    app.settle()
    plot.scroll_into_view_if_needed()
    # The points are on a canvas: Plotly itself says where the farthest to the right among the first kind lies.
    place = plot.evaluate(
        """plot => {
            const layout = plot._fullLayout, trace = plot._fullData[0], box = plot.getBoundingClientRect();
            const values = Array.from(trace.x), at = values.indexOf(Math.max(...values));
            const x = layout.xaxis.d2p(trace.x[at]) + layout.xaxis._offset;
            const y = layout.yaxis.d2p(trace.y[at]) + layout.yaxis._offset;
            return {x: box.x + x, y: box.y + y, value: trace.x[at]};
        }"""
    )
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.move(place["x"], place["y"])
    page.mouse.click(place["x"], place["y"])
    app.wait_for_path("/example")
    before = comparison.in_order(run, other)[0].examples.set_index("id")
    assert before.loc[app.example_id, "fsi"] == pytest.approx(place["value"], rel=1e-5)


def test_the_boxes_and_the_address_say_the_same(other: Run, app: App, page: Page, run: Run):
    app.open("compare", other=other.id)
    second = page.get_by_role("combobox", name="Compare with")
    expect(second).to_have_value(f"{other.title} · {other.id}")
    app.choose("Compare with", "· digits", exact=False)
    page.wait_for_url(re.compile("other=digits"))
    app.settle()
    app.choose("Run", f"· {other.id}", exact=False)
    page.wait_for_url(re.compile(f"run={re.escape(other.id)}"))
    app.settle()
    expect(second).to_have_value("digits, digits · digits")
    assert "other=digits" in page.url


def _next(label: int) -> int:
    return (int(label) + 1) % 10
