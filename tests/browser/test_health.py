"""The health of the data on Overview, whose counts are links to the tiles."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import planted
from tests.support.app_driver import App

Serve = Callable[[Path], str]


@pytest.fixture
def open_app(page: Page, tmp_path: Path, serve: Serve) -> App:
    made = planted.make_images_run(tmp_path / "runs" / "planted")
    app = App(page, serve(tmp_path / "runs"), made.name)
    app.open("overview")
    return app


def test_each_count_leads_to_its_tiles(open_app: App, page: Page):
    health = page.locator(".st-key-health")
    expect(health.get_by_role("link", name="1 dark image")).to_be_visible()
    expect(health.get_by_text(re.compile("No .*bright images$"))).to_be_visible()
    health.get_by_role("link", name="4 identical images").click()
    open_app.wait_for_path("/browse")
    rows = [*planted.TWINS, planted.LEAKED, planted.LEAK]  # copies stand side by side
    open_app.shows_rows("All examples", rows)
    page.go_back()
    open_app.wait_for_path("/overview")
    health.get_by_role("link", name="1 blurred image").click()
    open_app.wait_for_path("/browse")
    open_app.shows_rows("All examples", [planted.BLURRED])
    expect(open_app.button("Issue: blurred")).to_be_visible()


def test_a_count_opens_in_another_tab(open_app: App, page: Page):
    link = page.locator(".st-key-health").get_by_role("link", name=re.compile("1 leak"))
    for click in (lambda: link.click(button="middle"), lambda: link.click(modifiers=["Control"])):
        with page.context.expect_page() as opened:
            click()
        other = App(opened.value, "", "")
        other.wait_for_path("/browse")
        other.shows_rows("All examples", [planted.LEAKED, planted.LEAK])
        assert open_app.path == "/overview"
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Map", exact=True).click(modifiers=["Control"])
    App(opened.value, "", "").wait_for_path("/map")
    assert open_app.path == "/overview"
