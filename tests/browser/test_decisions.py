"""Decisions by key are saved, whatever else happens: a slow server, a link clicked at once, a failure."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution_core.runs import Run
from tests.support.app_driver import App, eventually
from tests.support.app_server import served

_MILLISECONDS_BETWEEN_KEYS = 200


@pytest.fixture
def server(page: Page, run: Run, tmp_path: Path) -> Iterator[tuple[App, int]]:
    """The app over one run, and the process of its server."""
    own = served(run.path, tmp_path / "server.log")
    with own as address:
        yield App(page, address, run.id), own.pid
        page.goto("about:blank")


@contextmanager
def _stopped(process: int) -> Iterator[None]:
    """Stop a process for a while: it then finds all that was sent to it meanwhile, at once."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def _type(app: App, keys: str) -> None:
    for key in keys:
        app.press(key)
        app.page.wait_for_timeout(_MILLISECONDS_BETWEEN_KEYS)


def test_a_link_after_the_last_key_loses_no_decision(server: tuple[App, int], run: Run):
    """Twenty keys in four seconds while the server answers nothing, an undo among them, then a link."""
    app, process = server
    app.open("review")
    with _stopped(process):
        _type(app, "dkdkdkdkdukdkdkdkdkd")
        app.page.get_by_role("link", name="Browse", exact=True).click()
        app.page.wait_for_timeout(200)
    app.wait_for_path("/browse")
    # The keep after the undo is about the example whose drop was undone.
    eventually(lambda: "".join(action[0] for action in run.decisions.current()["action"]), "dkdkdkdkkdkdkdkdkd")


def test_keys_count_while_the_page_is_drawn_again_and_again(server: tuple[App, int], run: Run):
    """The server stops between keys, so that pages are drawn late and out of step with the keys."""
    app, process = server
    app.open("review")
    for _ in range(4):
        _type(app, "dk")
        with _stopped(process):
            _type(app, "ud")
    eventually(lambda: run.decisions.current()["action"].tolist(), ["drop", "drop"] * 4)


def test_a_decision_that_is_not_saved_is_said_and_its_example_comes_back(app: App, run: Run):
    app.open("review")
    first = app.picture().get_attribute("alt")
    app.page.route("**/api/decisions/*", lambda route: route.fulfill(json={"failed": "The disk is full."}))
    app.press("d")
    expect(app.page.get_by_test_id("stToast")).to_contain_text("Not saved: The disk is full.")
    expect(app.picture()).to_have_attribute("alt", re.compile(re.escape(first or "")))
    assert run.decisions.current().empty
    app.page.unroute("**/api/decisions/*")
    app.press("d")
    eventually(lambda: len(run.decisions.current()), 1)


def test_an_undo_brings_the_example_back_before_the_server_draws(app: App, run: Run):
    app.open("review")
    first, _ = app.picture().get_attribute("alt"), app.press("d")
    expect(app.picture()).not_to_have_attribute("alt", first or "")
    app.press("u")
    expect(app.picture()).to_have_attribute("alt", first or "")
    app.press("k")
    eventually(lambda: run.decisions.current()["action"].tolist(), ["keep"])
    expect(app.page.get_by_test_id("stToast")).to_contain_text("Undone: drop")


def test_a_link_after_a_key_among_the_tiles_loses_no_decision(server: tuple[App, int], run: Run):
    app, process = server
    app.open("browse")
    app.tiles().first.focus()
    with _stopped(process):
        _type(app, "d")
        app.press("ArrowRight")
        _type(app, "k")
        app.page.get_by_role("link", name="Training", exact=True).click()
        app.page.wait_for_timeout(200)
    app.wait_for_path("/training")
    eventually(lambda: run.decisions.current()["action"].tolist(), ["drop", "keep"])
