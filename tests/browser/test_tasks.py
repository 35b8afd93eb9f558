"""What people come for, on the demo, in as few clicks and seconds as it should take; each test prints what it took."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from tests.support.app_driver import THEMES, App, eventually
from tests.support.app_server import served
from tests.support.map_driver import at, plot
from tests.support.workers import made_once

_WRONG_LABELS, _KEYS, _SECONDS = 20, 30, 15.0
_SELECTED, _CLICKS = 30, 8


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of ``samplescope demo``."""
    made = made_once(tmp_path_factory, "demo", lambda out: score(ScoreConfig(data="fashion-demo", out=out / "demo")))
    return made / "demo"


@pytest.fixture
def own(demo: Path, page: Page, tmp_path: Path) -> Iterator[tuple[App, Run]]:
    """The app over a copy of the demo in which nothing is decided."""
    shutil.copytree(demo, tmp_path / "runs" / "demo")
    with served(tmp_path / "runs", tmp_path / "server.log") as address:
        yield App(page, address, "demo"), Run.open(tmp_path / "runs" / "demo")
        page.goto("about:blank")


class Hand:
    """A user's hand, which counts what it does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0
        self.keys = 0
        self.start = time.monotonic()

    def click(self, target: Locator, **how: object) -> None:
        target.click(**how)  # type: ignore[arg-type]
        self.clicks += 1

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.keys += 1

    def report(self, what: str) -> float:
        seconds = time.monotonic() - self.start
        print(f"\n{what}: {self.clicks} clicks, {self.keys} keys, {seconds:.1f} s")
        return seconds


@THEMES
def test_twenty_wrong_labels_are_found_and_relabeled(own: tuple[App, Run]):
    app, run = own
    app.open("review")
    hand = Hand(app.page)
    for _ in range(_WRONG_LABELS):
        hand.press("r")
        app.page.wait_for_timeout(150)
    eventually(lambda: len(run.decisions.current()), _WRONG_LABELS)
    seconds = hand.report(f"{_WRONG_LABELS} suggestions accepted")
    assert hand.keys <= _KEYS
    assert seconds < _SECONDS
    decided = run.decisions.current()
    table = run.examples.set_index("id")
    of_training = decided[decided["split"] == "train"]
    truth = table.loc[of_training["id"]]
    given = [run.class_names[int(label)] for label in of_training["new_label"]]
    right = (truth["original_label"].to_numpy() == given).mean()
    print(f"{right:.0%} of {len(truth)} training labels are the true ones now")
    assert right > 0.9


@THEMES
def test_confusions_of_a_class_are_filtered_sorted_and_dropped(own: tuple[App, Run]):
    app, run = own
    app.open("browse")
    hand = Hand(app.page)
    hand.click(app.page.get_by_label("Search or filter"))
    app.page.keyboard.type("class:Shirt suggested:Coat,Pullover,T-shirt/top suggested_confidence>0.6")
    hand.press("Enter")
    hand.click(app.page.get_by_role("combobox", name="Sort by", exact=True))
    app.page.keyboard.type("functional")
    hand.press("Enter")
    frame = run.examples
    wanted = frame["suggested_name"].isin(["Coat", "Pullover", "T-shirt/top"]) & (frame["suggested_confidence"] > 0.6)
    expected = frame[wanted & (frame["label_name"] == "Shirt")].sort_values("fsi", ascending=False, kind="stable")
    assert len(expected) >= _SELECTED
    app.shows_rows("Training examples", [int(row) for row in expected.index[:60]])
    hand.click(app.tiles().first.locator(".check"))
    hand.click(app.tiles().nth(_SELECTED - 1), modifiers=["Shift"])
    expect(app.page.get_by_text(f"{_SELECTED} selected", exact=True)).to_be_visible()
    hand.click(app.button("Drop d"))
    eventually(lambda: len(run.decisions.current()), _SELECTED)
    hand.report(f"{_SELECTED} confused shirts dropped")
    assert hand.clicks <= _CLICKS
    assert set(run.decisions.current()["id"]) == set(expected["id"].iloc[:_SELECTED])


@THEMES
def test_a_chain_of_influencers_leads_back_to_the_same_place(own: tuple[App, Run]):
    app, _ = own
    app.page.set_viewport_size({"width": 1280, "height": 800})
    app.open("browse")
    place = "document.querySelector('[data-testid=stMain]').scrollTop"
    app.tiles().nth(40).scroll_into_view_if_needed()
    app.page.wait_for_timeout(300)
    left = app.page.evaluate(place)
    assert left > 0
    hand = Hand(app.page)
    hand.click(app.tiles().nth(40))
    app.wait_for_path("/example")
    for strip in ("Helps most", "Most helpful", "Helps most"):
        address = app.page.url
        hand.click(app.tiles(strip).first)
        app.page.wait_for_url(lambda url, before=address: url != before)
        app.wait_for_path("/example")
    for _ in range(4):
        address = app.page.url
        hand.press("b")
        app.page.wait_for_url(lambda url, before=address: url != before)
        app.settle()
    app.wait_for_path("/browse")
    eventually(lambda: app.page.evaluate(place), left)
    hand.report("Three influencers deep and back")


@THEMES
def test_a_lasso_is_tagged_saved_and_opened_in_another_browser(own: tuple[App, Run], browser: Browser):
    app, run = own
    app.open("map")
    hand = Hand(app.page)
    count = _lasso(app, run, hand)
    hand.click(app.button(f"Select all {count}"))
    app.go("Browse")
    expect(app.page.get_by_text(f"{count} selected", exact=True)).to_be_visible()
    hand.click(app.page.get_by_role("button", name="Tag").first)
    app.page.get_by_role("combobox", name="Tag", exact=True).fill("odd shoes")
    hand.press("Enter")
    hand.click(app.button(f"Add to {count}"))
    eventually(lambda: len(run.decisions.annotations.current()), count)
    app.press("Escape")
    hand.click(app.page.get_by_label("Search or filter"))
    app.page.keyboard.type('tag:"odd shoes"')
    hand.press("Enter")
    expect(app.page.get_by_text(f"{count:,} of 2,000 examples")).to_be_visible()
    hand.click(app.button("Views"))
    hand.click(app.page.get_by_label("Save what is listed now as"))
    app.page.keyboard.type("Shoes")
    hand.press("Enter")
    hand.click(app.page.get_by_role("button", name="Save", exact=True))
    eventually(lambda: [view.name for view in run.decisions.views.current()], ["Shoes"])
    hand.report("A lasso tagged and saved as a view")
    context = browser.new_context()
    other = App(context.new_page(), app.address, app.run_id)
    other.page.goto(app.page.url)
    expect(other.page.get_by_text(f"{count:,} of 2,000 examples")).to_be_visible()
    context.close()


def _lasso(app: App, run: Run, hand: Hand) -> int:
    """Draw around the middle of a class, and return the number of examples that the page says lie within."""
    frame = run.examples
    middle = frame[frame["label_name"] == "Ankle boot"][["umap_x", "umap_y"]].median()
    reach = 1.0
    map_ = plot(app)
    hand.click(map_.locator(".modebar-btn[data-val=select]"))
    corners = [(middle["umap_x"] + side * reach, middle["umap_y"] + side * reach) for side in (-1, 1)]
    (x0, y0), (x1, y1) = (at(map_, *corner) for corner in corners)
    app.page.mouse.move(x0, y0)
    app.page.mouse.down()
    app.page.mouse.move(x1, y1, steps=8)
    app.page.mouse.up()
    heading = app.page.get_by_text(re.compile(r"^\d+ selected$"))
    expect(heading).to_be_visible()
    count = int(heading.inner_text().split()[0])
    inside = (frame[["umap_x", "umap_y"]] - middle).abs().max(axis=1) < reach
    assert count == pytest.approx(inside.sum(), rel=0.1)  # the border is as wide as a pixel
    return count
