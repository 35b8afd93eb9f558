"""Reviewers: their names, two of them at once, what they did step by step, and suggestions accepted in bulk."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from attribution_core.runs import Run, RunWriter
from tests.support.app_driver import App, eventually


@pytest.fixture
def other(browser: Browser) -> Iterator[Page]:
    """A page in another browser, so to say: nothing is shared with the first one."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    yield context.new_page()
    context.close()


def name_oneself(app: App, name: str) -> None:
    app.button("Your name").click()
    app.page.get_by_role("combobox", name="Your name").fill(name)
    app.press("Enter")
    app.settle()
    expect(app.button(name)).to_be_visible()
    app.press("Escape")


def reviewed(run: Run) -> list[tuple[str, str]]:
    log = run.decisions.by_reviewer()
    return list(zip(log["reviewer"], log["action"], strict=True))


def test_the_decisions_of_two_reviewers_arrive_without_reloading(app: App, other: Page, run: Run):
    order = run.examples.sort_values("fsi", ascending=False)["id"].tolist()
    ben = App(other, app.address, run.id)
    for each, name in ((app, "ann"), (ben, "ben")):
        each.open("browse")
        name_oneself(each, name)
    app.tiles().first.focus()
    app.press("d")
    expect(ben.tiles().first.get_by_text("drop")).to_be_visible(timeout=10_000)
    ben.tiles().first.focus()
    ben.press("k")
    expect(ben.tiles().first.get_by_text("disputed")).to_be_visible()
    expect(app.tiles().first.get_by_text("disputed")).to_be_visible(timeout=10_000)
    assert reviewed(run) == [("ann", "drop"), ("ben", "keep")]
    assert run.decisions.current()["action"].tolist() == ["keep"]  # the latest counts
    app.open("example", id=order[0])
    expect(app.badge("ann: drop, ben: keep")).to_be_visible()
    app.go("Review")
    expect(app.page.get_by_text("ann and ben both decided about 1: 0% alike")).to_be_visible()
    app.go("Browse")
    app.tiles().first.focus()
    expect(app.tiles().first).to_be_focused()
    app.press("u")  # one's own latest step, not the other's
    eventually(lambda: reviewed(run), [("ben", "keep")])


def test_any_step_or_part_of_it_is_undone(app: App, run: Run):
    ids = run.examples["id"].tolist()
    run.decisions.record(ids[:3], "drop", reviewer="ann")
    run.decisions.annotations.tag([("train", ids[5])], "<i>odd</i>", "ben")
    run.decisions.record(ids[4:5], "keep")
    app.open("review")
    expect(app.page.get_by_text(f"kept {ids[4]}")).to_be_visible()
    expect(app.page.get_by_text(f"ben tagged {ids[5]}: <i>odd</i>")).to_be_visible()
    expect(app.page.get_by_text("ann dropped 3 examples")).to_be_visible()
    app.button(
        "3",
    ).and_(app.page.get_by_role("button", name="3", exact=True)).click()
    app.choose("Examples", ids[1])
    app.press("Escape")
    app.button("Undo 1").click()
    eventually(lambda: run.decisions.current()["id"].tolist(), [ids[0], ids[2], ids[4]])
    expect(app.page.get_by_text("(1 undone)")).to_be_visible()
    app.press("Escape")
    app.page.get_by_role("button", name="Undo", exact=True).last.click()  # the first step, which is listed last
    eventually(lambda: run.decisions.current()["id"].tolist(), [ids[4]])
    expect(app.page.get_by_text("(undone)")).to_be_visible()
    assert run.decisions.annotations.tags() == {"<i>odd</i>": 1}


def judge(run: Run) -> Run:
    """Give the run label quality: the last ten training examples have a sure suggestion, the next label."""
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        for table, frame in (("examples", run.examples), ("evaluation", run.evaluation)):
            suggested, stated = frame["label"].to_numpy().copy(), np.linspace(0.6, 0.9, len(frame))
            if table == "examples":
                suggested[-10:] = (suggested[-10:] + 1) % 10
                stated[-10:] = 0.99
            columns = {"suggested_label": suggested, "suggested_name": np.array(run.class_names)[suggested]}
            columns |= {"label_quality": np.where(suggested == frame["label"], stated, 0.001)}
            writer.add_columns(table, columns | {"suggested_confidence": stated})
        writer.describe("label_quality", {}, ["label_quality"])
    return Run.open(run.path)


def test_sure_suggestions_are_accepted_in_bulk_and_undone_in_one_step(app: App, run: Run):
    run = judge(run)
    run.decisions.record(run.examples["id"].tolist()[-1:], "drop")
    app.open("review")
    app.button("Accept in bulk").click()
    expect(app.page.get_by_text("9 undecided")).to_be_visible()
    expect(app.page.get_by_text(re.compile(r"Expected to be right: \d+% to \d+%"))).to_be_visible()
    expect(app.page.get_by_text("Decided about before: 1, of which 0")).to_be_visible()
    app.button("Accept 9").click()
    eventually(lambda: run.decisions.counts(), {"keep": 0, "drop": 1, "relabel": 9})
    changed = run.cleaned_labels().tail(10)
    assert (changed["label"] == (changed["label_in_data"] + 1) % 10).tolist() == [True] * 9 + [False]
    app.press("Escape")
    app.button("Undo u").first.click()
    eventually(lambda: run.decisions.counts(), {"keep": 0, "drop": 1, "relabel": 0})


def test_enter_accepts_the_suggestion_in_review(app: App, run: Run):
    run = judge(run)
    app.open("review")
    app.button("Undo u").first.focus()
    app.press("Enter")  # presses the button
    expect(app.page.get_by_text("Nothing to undo")).to_be_visible()
    app.page.evaluate("document.activeElement.blur()")
    app.press("Enter")
    eventually(lambda: run.decisions.current()["action"].tolist(), ["relabel"])
    assert len(run.decisions.current()) == 1
