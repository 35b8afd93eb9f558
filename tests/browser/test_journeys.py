"""The journeys of a user: from a tile to a cleaned dataset, with the mouse and with the keyboard alone."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from attribution_core.datasets import open_dataset
from attribution_core.runs import Run
from samplescope_app.figures import score_bins
from tests.support.app_driver import App, eventually
from tests.support.decided import actions

# Keys at a pace that does not depend on how fast the test's messages reach the browser: twenty in less than 4 seconds.
_TYPED = """
(keys) => new Promise((answer) => keys.forEach((key, place) => setTimeout(() => {
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
  if (place === keys.length - 1) answer();
}, 180 * place)))
"""


def by_score(run: Run) -> list[str]:
    return run.examples.sort_values("fsi", ascending=False)["id"].tolist()


def test_from_a_tile_to_an_exported_file(app: App, run: Run, tmp_path: Path):
    app.open("overview")
    first, second = by_score(run)[:2]
    app.tiles("Most informative").first.click()
    app.wait_for_path("/example")
    assert app.example_id == first
    expect(app.page.get_by_role("heading", name=first)).to_be_visible()

    app.button("Drop").click()
    expect(app.badge("dropped")).to_be_visible()
    assert actions(run.decisions) == {first: "drop"}
    app.button("Undo").click()
    expect(app.badge("undecided")).to_be_visible()
    assert actions(run.decisions) == {}

    old = run.examples.set_index("id").loc[first, "label"]
    new = (old + 1) % 10
    app.button(f"digit {new} {new}").click()
    expect(app.badge(f"relabeled digit {new}")).to_be_visible()
    app.button("Next").click()
    app.shows(_row(run, second))
    app.press("d")
    expect(app.badge("dropped")).to_be_visible()
    assert actions(run.decisions) == {first: "relabel", second: "drop"}

    app.go("Review")
    expect(app.page.get_by_text("299 are kept")).to_be_visible()
    app.button("Export").click()
    with app.page.expect_download() as download:
        app.page.get_by_role("button", name=re.compile(r"Download .*\.csv$")).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    frame = pd.read_csv(file, keep_default_na=False).set_index("id")
    assert frame.loc[first, ["label", "label_in_data", "action"]].tolist() == [
        f"digit {new}",
        f"digit {old}",
        "relabel",
    ]
    assert frame.loc[second, "action"] == "drop"


@pytest.mark.parametrize(("choice", "suffix"), [("Parquet", "parquet"), ("Zip of folders", "zip")])
def test_exported_images_are_read_back(app: App, run: Run, tmp_path: Path, choice: str, suffix: str):
    run.decisions.record(by_score(run)[:5], "drop")
    app.open("review")
    app.page.get_by_text(choice, exact=True).click()
    app.button("Export").click()
    expect(app.page.get_by_text("Saved in")).to_be_visible(timeout=30_000)
    (file,) = (run.path / "exports").glob(f"*.{suffix}")
    if suffix == "zip":
        zipfile.ZipFile(file).extractall(tmp_path)
        file = tmp_path
    assert len(open_dataset(file).train) == len(run.examples) - 5


def test_the_keyboard_is_enough(app: App, run: Run):
    order = by_score(run)
    app.open("browse")
    app.tiles().first.focus()
    app.press("ArrowRight")
    app.press("ArrowRight")
    app.press("ArrowLeft")
    expect(app.page.get_by_text(order[1], exact=True)).to_be_visible()  # the side panel follows the focus
    app.press("d")
    expect(app.tiles().nth(1).get_by_text("drop")).to_be_visible()
    app.press("u")
    expect(app.tiles().nth(1).get_by_text("drop")).to_have_count(0)
    app.press("Enter")
    app.wait_for_path("/example")
    assert app.example_id == order[1]
    app.press("k")
    expect(app.badge("kept")).to_be_visible()
    app.press("ArrowRight")
    expect(app.page.get_by_role("heading", name=order[2])).to_be_visible()
    app.press("b")
    app.wait_for_path("/browse")
    expect(app.tiles().nth(1).get_by_text("keep")).to_be_visible()
    assert actions(run.decisions) == {order[1]: "keep"}


def test_the_examples_of_another_split_are_browsed_and_decided(app: App, run: Run):
    test = run.evaluation[run.evaluation["split"] == "test"].sort_values("loss", ascending=False, kind="stable")
    app.open("browse")
    app.choose("Sort by", run.measure("loss").title)
    app.choose("Split", "test")
    expect(app.page.get_by_text(f"{len(test)} of {len(test)} test examples")).to_be_visible()
    expect(app.tiles("Test examples").first).to_be_visible()
    app.shows_rows("Test examples", test.index[:5].tolist(), first=5)
    app.tiles("Test examples").nth(1).focus()
    app.press("d")
    expect(app.tiles("Test examples").nth(1).get_by_text("drop")).to_be_visible()
    app.press("Enter")
    app.wait_for_path("/example")
    app.shows_evaluation(test.index[1])
    app.press("ArrowRight")
    app.shows_evaluation(test.index[2])  # in the order of the grid
    app.press("b")
    app.wait_for_path("/browse")
    expect(app.tiles("Test examples").nth(1).get_by_text("drop")).to_be_visible()
    app.go("Example")  # without an address of its own
    app.shows_evaluation(test.index[0])
    decided = run.decisions.current()
    assert decided[["id", "split", "action"]].to_numpy().tolist() == [[test["id"].iloc[1], "test", "drop"]]


def test_r_relabels_and_does_not_rerun_the_app(app: App, run: Run):
    """Streamlit has the key r for itself."""
    row = run.examples[~run.examples["correct"]].iloc[0]
    app.open("example", id=row["id"])
    app.press("r")
    expect(app.badge(f"relabeled {row['predicted_name']}")).to_be_visible()
    assert run.decisions.current()["new_label"].tolist() == [row["predicted"]]


def test_several_tiles_are_dropped_at_once(app: App, run: Run):
    order = by_score(run)
    app.open("browse")
    app.tiles().nth(0).click(modifiers=["Control"])
    app.tiles().nth(3).click(modifiers=["Shift"])
    expect(app.page.get_by_text("4 selected", exact=True)).to_be_visible()
    app.tiles().nth(2).click(modifiers=["Control"])
    expect(app.page.get_by_text("3 selected", exact=True)).to_be_visible()
    app.button("Drop").click()
    expect(app.tiles().nth(3).get_by_text("drop")).to_be_visible()
    assert actions(run.decisions) == {order[i]: "drop" for i in (0, 1, 3)}
    app.tiles().nth(0).focus()
    app.press("u")
    expect(app.tiles().nth(3).get_by_text("drop")).to_have_count(0)
    assert actions(run.decisions) == {}


def test_back_leads_through_the_pages_that_were_opened(app: App, run: Run):
    """The links of the menu name no run, which each page then writes into its address."""
    app.open("overview")
    for name in ("Browse", "Training", "Classes"):
        app.go(name)
        expect(app.page).to_have_url(re.compile(f"run={app.run_id}"))
    for path in ("/training", "/browse", "/overview"):
        app.page.go_back()
        app.wait_for_path(path)
    app.tiles("Most informative").first.click()
    app.wait_for_path("/example")
    first = app.example_id
    app.shows(_row(run, first))
    app.press("ArrowRight")
    app.page.wait_for_url(lambda url: f"id={first}" not in url)
    app.settle()
    app.page.go_back()
    app.page.wait_for_url(lambda url: f"id={first}" in url)
    app.settle()
    app.page.go_back()
    app.wait_for_path("/overview")


def test_review_moves_to_the_next_example_by_itself(app: App, run: Run):
    order = by_score(run)
    labels = run.examples.set_index("id")["label"]
    app.open("review")
    for position, key in enumerate("dks"):
        app.shows(_row(run, order[position]))
        app.press(key)
    app.shows(_row(run, order[3]))
    expect(app.page.get_by_text("2 of 100 suspects decided, 1 skipped")).to_be_visible()
    label = (labels[order[3]] + 3) % 10
    app.press(str(label))
    app.shows(_row(run, order[4]))
    eventually(lambda: actions(run.decisions), {order[0]: "drop", order[1]: "keep", order[3]: "relabel"})
    app.press("u")
    app.shows(_row(run, order[3]))
    assert actions(run.decisions) == {order[0]: "drop", order[1]: "keep"}


def test_no_key_is_lost_however_fast_they_come(app: App, run: Run):
    """Twenty keys within four seconds, each about the example that is then shown."""
    order = by_score(run)
    app.open("review")
    app.shows(_row(run, order[0]))
    keys = "dkdkkddkdkddkkdkdkdk"
    app.page.evaluate(_TYPED, list(keys))
    app.shows(_row(run, order[20]))
    names = {"d": "drop", "k": "keep"}
    expected = {order[position]: names[key] for position, key in enumerate(keys)}
    eventually(lambda: actions(run.decisions), expected)
    app.settle()
    expect(app.page.get_by_text("20 of 100 suspects decided")).to_be_visible()
    app.press("u")
    app.shows(_row(run, order[19]))
    eventually(lambda: actions(run.decisions), {id_: action for id_, action in expected.items() if id_ != order[19]})


def test_review_does_not_tell_the_answer(app: App, run: Run):
    changed = run.examples.query("original_label != label_name")["id"].iloc[0]
    app.open("example", id=changed)
    expect(app.page.get_by_text("original label:")).to_be_visible()
    app.open("review")
    expect(app.page.get_by_text("Label", exact=False).first).to_be_visible()
    expect(app.page.get_by_text("original label:")).to_have_count(0)


def _row(run: Run, example_id: str) -> int:
    return int((run.examples["id"] == example_id).to_numpy().argmax())


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_bar_under_the_pointer_is_the_one_that_is_told_and_opened(app: App, run: Run, logarithmic: bool):
    app.open("overview")
    if logarithmic:
        app.page.get_by_text("Log scale").click()
    for score in run.scores:
        title = run.measure(score).title
        app.choose("Score", title, exact=False)
        expect(app.page.get_by_text(f"Distribution of {run.measure(score).title_in_sentence}")).to_be_visible()
        app.settle()
        values = run.examples[score].to_numpy(dtype="float64")
        edges = score_bins(values).edges
        counts = np.histogram(values, edges)[0]
        middle = int(np.flatnonzero(counts)[np.count_nonzero(counts) // 2])
        bar = app.page.locator(".js-plotly-plot").first.locator(".bars .point").nth(middle)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        assert box is not None
        app.page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 20)
        where = box["x"] + box["width"] / 2, box["y"] + 2  # on a log scale a bar goes on far below the plot
        app.page.mouse.move(*where, steps=4)
        told = app.page.locator(".hoverlayer .hovertext").first
        expect(told).to_contain_text(f"examples{counts[middle]} from ")
        low = re.findall(r"from (\S+)", (told.text_content() or "").replace("−", "-"))[0]
        assert float(low) == pytest.approx(edges[middle], rel=0.01)
    app.page.mouse.click(*where)
    app.wait_for_path("/browse")
    expect(app.tiles()).to_have_count(int(counts[middle]))


def test_a_bar_of_the_histogram_leads_to_its_examples(app: App, run: Run):
    app.open("overview")
    bars = app.page.locator(".js-plotly-plot").first.locator(".bars .point")
    expect(bars.first).to_be_attached()
    bar = bars.last
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    assert box is not None
    app.page.mouse.click(box["x"] + box["width"] / 2, box["y"] - 50)  # above the bar: its whole column counts
    app.wait_for_path("/browse")
    highest = by_score(run)[0]
    expect(app.tiles().first).to_have_accessible_name(re.compile(f"#{_row(run, highest)},"))
    expect(app.button(f"{run.measure('fsi').title} ≥")).to_be_visible()
    shown = app.tiles().count()
    assert 1 <= shown < 60

    app.tiles().first.click()
    app.wait_for_path("/example")
    expect(app.page.get_by_text(f"1 of {shown}")).to_be_visible()
    app.go_back_to("Browse")
    app.wait_for_path("/browse")
    expect(app.tiles()).to_have_count(shown)  # the filter is still there
    app.button("Clear filters").click()
    expect(app.tiles()).to_have_count(60)


def test_pages_of_tiles(app: App, run: Run):
    order = by_score(run)
    app.open("browse")
    app.button("Next").click()
    expect(app.page.get_by_text("61 to 120 of 300")).to_be_visible()
    expect(app.tiles().first).to_have_accessible_name(re.compile(f"#{_row(run, order[60])},"))
    app.page.get_by_role("searchbox", name="Search or filter").fill("0001")
    app.page.keyboard.press("Enter")
    expect(app.tiles()).to_have_count(11)


def test_a_link_to_an_example_opens_it(app: App, run: Run):
    example_id = run.examples["id"].iloc[7]
    app.open("example", id=example_id)
    expect(app.page.get_by_role("heading", name=example_id)).to_be_visible()
    app.page.goto(app.page.url.replace(example_id, "no+such+thing"))
    expect(app.page.get_by_text("has no training example no such thing")).to_be_visible()


def test_browser_back_returns_to_the_grid(app: App):
    app.open("browse")
    app.tiles().first.click()
    app.wait_for_path("/example")
    app.page.go_back()
    app.wait_for_path("/browse")
    expect(app.tiles()).to_have_count(60)
