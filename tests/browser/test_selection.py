"""The selection: across pages of tiles, with a bar that stays in sight and does everything to it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, eventually
from tests.support.decided import actions
from tests.support.map_driver import draw_around


def by_score(run: Run) -> list[str]:
    return run.examples.sort_values("fsi", ascending=False)["id"].tolist()


def select(app: App, *tiles: int) -> None:
    for tile in tiles:
        app.tiles().nth(tile).click(modifiers=["Control"])


def says(app: App, count: int) -> None:
    expect(app.page.get_by_text(f"{count} selected", exact=True)).to_be_visible()


def test_a_selection_survives_page_turns_and_is_dropped_as_a_whole(app: App, run: Run):
    order = by_score(run)
    app.page.set_viewport_size({"width": 1280, "height": 800})
    app.open("browse")
    expect(app.page.get_by_text("selected", exact=False).and_(app.page.locator("strong"))).to_have_count(0)
    select(app, 0, 2)
    says(app, 2)
    expect(app.button("Drop d")).to_be_in_viewport()
    app.button("Next").click()
    app.shows_rows("Training examples", [run.examples["id"].tolist().index(order[60])], first=1)
    says(app, 2)
    expect(app.button("Drop d")).to_be_in_viewport()
    select(app, 1)
    says(app, 3)
    app.tiles().nth(5).focus()
    app.press("d")  # of all that are selected, not of the tile with the focus
    expect(app.tiles().nth(1).get_by_text("drop")).to_be_visible()
    eventually(lambda: actions(run.decisions), {order[0]: "drop", order[2]: "drop", order[61]: "drop"})
    app.button("Previous").click()
    expect(app.page.locator(".tile[aria-selected=true]")).to_have_count(2)
    expect(app.tiles().nth(2).get_by_text("drop")).to_be_visible()
    app.button("Undo u").click()
    eventually(lambda: actions(run.decisions), {})
    app.page.get_by_role("button", name="Clear", exact=True).click()
    expect(app.page.locator(".tile[aria-selected=true]")).to_have_count(0)
    expect(app.button("Drop d")).to_have_count(0)
    select(app, 0)  # what was selected before the selection was cleared
    says(app, 1)


def test_all_that_is_listed_is_selected_at_once(app: App, run: Run):
    app.open("browse")
    app.choose("Class", "digit 3")
    app.press("Escape")
    count = int((run.examples["label"] == 3).sum())
    select(app, 0)
    app.button(f"Select all {count}").click()
    says(app, count)
    app.button("Keep k").click()
    eventually(lambda: len(actions(run.decisions)), count)
    app.tiles().first.focus()
    app.press("Escape")
    expect(app.button("Keep k")).to_have_count(0)


def test_selected_examples_are_relabeled_tagged_noted_and_exported(app: App, run: Run, tmp_path: Path):
    order, labels = by_score(run), run.examples.set_index("id")["label"]
    app.open("browse")
    select(app, 0, 1)
    says(app, 2)
    app.button("Relabel").click()
    new = next(label for label in range(10) if label not in labels[order[:2]].tolist())
    app.choose("New label", run.class_names[new])
    app.button("Relabel 2").click()
    eventually(lambda: run.decisions.current()["new_label"].tolist(), [new, new])
    app.press("Escape")
    app.button("Tag").click()
    app.page.get_by_role("combobox", name="Tag", exact=True).fill("odd one")
    app.press("Enter")
    app.settle()
    app.button("Add to 2").click()
    eventually(run.decisions.annotations.tags, {"odd one": 2})
    app.press("Escape")
    expect(app.tiles().first.get_by_text("odd one")).to_be_visible()
    app.button("Note").click()
    app.page.get_by_role("textbox", name="Note").fill("ask <b>Ann</b>")
    app.press("Tab")
    app.settle()
    app.button("Write on 2").click()
    eventually(lambda: run.decisions.annotations.current()["note"].tolist(), ["ask <b>Ann</b>"] * 2)
    app.press("Escape")
    app.button("Details").click()
    expect(app.page.get_by_text("ask <b>Ann</b>").first).to_be_visible()
    app.settle()  # each run of the page offers the file anew
    with app.page.expect_download() as download:
        app.button("Export").click()
    download.value.save_as(tmp_path / "selection.csv")
    table = pd.read_csv(io.StringIO((tmp_path / "selection.csv").read_text()), keep_default_na=False)
    assert table["id"].tolist() == order[:2]
    assert table["label"].tolist() == [run.class_names[new]] * 2
    assert table["tags"].tolist() == ["odd one"] * 2
    assert table["note"].tolist() == ["ask <b>Ann</b>"] * 2
    assert {"fsi", "predicted_name", "reviewer", "action"} <= set(table.columns)
    app.button("Undo u").click()  # the note, then the tag, then the new labels
    eventually(lambda: run.decisions.annotations.current()["note"].tolist(), ["", ""])
    app.button("Undo u").click()
    eventually(run.decisions.annotations.tags, {})
    app.button("Undo u").click()
    eventually(lambda: len(run.decisions.current()), 0)


def test_suggestions_are_accepted_and_a_key_asks_for_a_tag(app: App, run: Run):
    frame = run.examples.set_index("id").loc[by_score(run)]
    wrong = [place for place, correct in enumerate(frame["correct"][:60]) if not correct][:2]
    right = next(place for place, correct in enumerate(frame["correct"][:60]) if correct)
    app.open("browse")
    app.tiles().nth(wrong[0]).focus()
    app.press("r")
    eventually(lambda: run.decisions.current()["new_label"].tolist(), frame["predicted"].iloc[wrong[:1]].tolist())
    select(app, right, *wrong[1:])
    app.button("Accept suggestion").click()
    eventually(lambda: run.decisions.current()["new_label"].tolist(), frame["predicted"].iloc[wrong].tolist())
    app.tiles().nth(right).focus()
    app.press("t")
    expect(app.page.get_by_role("dialog")).to_be_visible()
    app.settle()  # the page may be drawn once more, for the decision, and with it an empty field
    app.page.get_by_role("combobox", name="Tag", exact=True).fill("look again")
    app.press("Enter")
    app.settle()
    app.button(f"Add to {len(wrong)}").click()
    eventually(run.decisions.annotations.tags, {"look again": len(wrong)})
    expect(app.page.get_by_role("dialog")).to_have_count(0)


def test_what_if_the_selected_were_gone(app: App):
    app.open("browse")
    select(app, 0, 1)
    app.button("What if gone?").click()
    expect(app.page.get_by_role("dialog").get_by_text("The 2 selected training examples")).to_be_visible()
    expect(app.page.get_by_role("dialog").get_by_text("Suffer most")).to_be_visible()


def test_selected_examples_are_seen_side_by_side(app: App, run: Run):
    order = by_score(run)
    app.open("browse")
    app.tiles().first.focus()
    app.press("v")
    expect(app.page.get_by_text("Select two to 4 examples")).to_be_visible()
    select(app, 0, 3)
    says(app, 2)
    app.button("Side by side").click()
    dialog = app.page.get_by_role("dialog")
    for example in (order[0], order[3]):
        expect(dialog.get_by_text(example, exact=True)).to_be_visible()
    expect(dialog.get_by_role("option")).to_have_count(2)
    fsi = dialog.get_by_role("row", name="Functional sample information")
    expect(fsi.get_by_role("cell")).to_have_text([re.compile("^p100"), re.compile("^p9")])
    app.press("Escape")
    expect(dialog).to_have_count(0)
    select(app, 4)
    says(app, 3)
    app.tiles().first.focus()
    app.press("v")
    dialog.get_by_role("option").nth(2).click()
    app.wait_for_path("/example")
    assert app.example_id == order[4]


def test_a_tag_is_a_filter_and_a_saved_view_opens_in_another_browser(app: App, browser: Browser, run: Run):
    order = by_score(run)
    run.decisions.annotations.tag([("train", order[4]), ("train", order[70])], "odd one", "ann")
    app.open("browse", where='tag:"odd one"')
    rows = [run.examples["id"].tolist().index(example) for example in (order[4], order[70])]
    app.shows_rows("Training examples", rows)
    app.button("Views").click()
    app.page.get_by_role("textbox", name="Save what is listed now as").fill("<b>odd</b>, ones")
    app.press("Tab")
    app.settle()
    app.page.get_by_role("button", name="Save", exact=True).click()
    expect(app.button("<b>odd</b>, ones")).to_be_visible()
    app.press("Escape")
    app.button("Clear filters").click()
    app.shows_rows("Training examples", [run.examples["id"].tolist().index(order[0])], first=1)
    app.button("Views").click()
    app.button("<b>odd</b>, ones").click()
    app.shows_rows("Training examples", rows)
    context = browser.new_context()
    other = App(context.new_page(), app.address, run.id)
    other.page.goto(app.page.url)
    other.shows_rows("Training examples", rows)
    context.close()
    app.press("Escape")
    app.button("Views").click()
    app.button("Delete").click()
    eventually(run.decisions.views.current, [])


def test_what_is_drawn_around_on_the_map_is_tagged_and_still_selected_in_browse(app: App, run: Run):
    app.open("map")
    inside = draw_around(app, run)
    app.button(f"Select all {len(inside)}").click()
    app.button("Tag").click()
    app.page.get_by_role("combobox", name="Tag", exact=True).fill("corner")
    app.press("Enter")
    app.settle()
    app.button(f"Add to {len(inside)}").click()
    eventually(run.decisions.annotations.tags, {"corner": len(inside)})
    app.press("Escape")
    app.go("Browse")
    says(app, len(inside))
