"""The real app in a real browser. A test fails on a console error or a request that leaves the machine."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from attribution_core.runs import Run
from samplescope_app.wording.keys import HINTS
from tests.support.app_driver import App
from tests.support.app_server import launched, served
from tests.support.sample_run import make_run
from tests.support.workers import made_once

_MILLISECONDS_UNTIL_A_SCRIPT_STARTS = 300  # after a page has opened another
_SIZE: ViewportSize = {"width": 1280, "height": 1400}

# Without a graphics card, drawing the frames of an animation takes more time than all else that a page does.
_STILL = """
addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = `*, ::before, ::after {
    animation-duration: 0s !important; animation-iteration-count: 1 !important;
  }`;
  document.head.append(style);
});
"""

# When a tab last sent and received a message: until the server's answer, a page looks like one that is done.
_MESSAGES = """
const messages = (window.messages = { sent: 0, received: 0 });
const send = WebSocket.prototype.send;
const heard = new WeakSet();
WebSocket.prototype.send = function (data) {
  if (!heard.has(this)) {
    heard.add(this);
    this.addEventListener("message", () => (messages.received = performance.now()));
  }
  messages.sent = performance.now();
  return send.call(this, data);
};
"""

# A first visit to a page shows a hint, which may lie over what a test clicks.
_NO_HINTS = f"""
if (location.protocol === "http:") localStorage.setItem("closed hints", '{json.dumps(list(HINTS))}');
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)  # two workers share the machine
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tabs(browser: Browser) -> dict[str, Page]:
    """A tab for each theme, which reads and compiles the app's scripts once for all tests."""
    return {theme: _tab(browser.new_context(viewport=_SIZE, color_scheme=theme)) for theme in ("light", "dark")}


def _tab(context: BrowserContext) -> Page:
    context.add_init_script(_STILL)
    context.add_init_script(_MESSAGES)
    context.add_init_script(_NO_HINTS)
    return context.new_page()


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    made = made_once(tmp_path_factory, "digits", lambda out: make_run(out / "digits"))
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def address(runs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, serving ``runs_folder`` on a free port."""
    with served(runs_folder, tmp_path_factory.mktemp("log") / "server.log") as url:
        yield url


@pytest.fixture
def run(runs_folder: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """A fresh copy of the run for one test, among those served."""
    name = request.node.name.replace("[", "-").replace("]", "")
    path = runs_folder / name
    shutil.copytree(runs_folder / "digits", path)
    yield Run.open(path)
    shutil.rmtree(path)


@pytest.fixture(params=["light"])
def page(tabs: dict[str, Page], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that collects console errors and requests that leave the machine, and fails the test for them."""
    page = tabs[request.param]
    wrong: list[str] = []
    listeners = {
        "console": lambda message: wrong.append(_written(message)) if message.type == "error" else None,
        "pageerror": lambda error: wrong.append(f"uncaught: {error}"),
        "request": lambda request: wrong.append(f"sent to {request.url}") if _leaves(request.url) else None,
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    yield page
    page.goto("about:blank")
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    for other in page.context.pages:
        if other is not page:
            other.close()
    page.set_viewport_size(_SIZE)
    page.context.clear_cookies()
    assert wrong == []


def _written(message: ConsoleMessage) -> str:
    return f"console: {message.text} ({message.location.get('url', '')})"


def _leaves(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname not in ("127.0.0.1", "localhost")


@pytest.fixture
def serve(page: Page, tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """A function that starts another server over a path; the page leaves that server before it stops."""
    with contextlib.ExitStack() as servers:
        yield lambda path: servers.enter_context(served(path, tmp_path / f"{path.name}.log"))
        page.goto("about:blank")


@pytest.fixture
def app(page: Page, address: str, run: Run) -> Iterator[App]:
    """The app over ``run``; the page leaves it before the run is deleted, once no script reads it any more."""
    app = App(page, address, run.id)
    yield app
    if page.url.startswith(f"{address}/"):
        page.wait_for_timeout(_MILLISECONDS_UNTIL_A_SCRIPT_STARTS)
        app.wait_for_script()
    page.goto("about:blank")
