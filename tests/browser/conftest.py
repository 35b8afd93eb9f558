"""The real app behind a real browser. A test fails on any console error and any request that leaves the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from attribution_core.runs import Run
from tests.browser.driver import App
from tests.support.fixtures import make_run

_ROOT = Path(__file__).parents[2]
_FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
_SECONDS_TO_START = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


def launched(playwright: Playwright) -> Browser:
    """Chromium, without a window."""
    # Its sandbox refuses to run as root, which a container often is.
    flags = [*_FLAGS, "--no-sandbox"] if _is_root() else _FLAGS
    return playwright.chromium.launch(executable_path=_chromium(playwright), args=flags)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _chromium(playwright: Playwright) -> str:
    """The system's Chromium, else Playwright's own."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    if not Path(own).exists():
        pytest.fail(
            "The browser tests need Chromium: run apt-get install chromium, or python -m playwright install chromium.",
            pytrace=False,
        )
    return own


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "digits")
    return folder


@pytest.fixture(scope="session")
def address(runs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, serving ``runs_folder`` on a free port."""
    with served(runs_folder, tmp_path_factory.mktemp("log") / "server.log") as url:
        yield url


class served:  # noqa: N801 (used as a context manager, like a function)
    """Runs the app over a path; on exit the server must still be alive, and must have written no traceback."""

    def __init__(self, path: Path, log: Path) -> None:
        self._path = path
        self._log = log

    def __enter__(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "samplescope_app.serve", self._path, "--port", str(port), "--no-browser"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + _SECONDS_TO_START
        url = f"http://127.0.0.1:{port}"
        while f"SampleScope is at {url}" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                pytest.fail(f"The app did not start:\n{self._log.read_text()}")
            time.sleep(0.05)
        return url

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        alive = self._process.poll() is None
        self._process.terminate()
        self._process.wait(timeout=20)
        log = self._log.read_text()
        if not alive or "Traceback" in log:
            pytest.fail(f"The server failed:\n{log}")


@pytest.fixture
def run(runs_folder: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """A fresh copy of the run for one test, among those served."""
    name = request.node.name.replace("[", "-").replace("]", "")
    path = runs_folder / name
    shutil.copytree(runs_folder / "digits", path)
    yield Run.open(path)
    shutil.rmtree(path)


@pytest.fixture(params=["light"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that remembers what went wrong, and fails the test for it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, color_scheme=request.param)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(_written(message)) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    page.on("request", lambda request: wrong.append(f"sent to {request.url}") if _leaves(request.url) else None)
    yield page
    context.close()
    assert wrong == []


def _written(message: ConsoleMessage) -> str:
    return f"console: {message.text} ({message.location.get('url', '')})"


def _leaves(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname not in ("127.0.0.1", "localhost")


@pytest.fixture
def serve(page: Page, tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Starts another server over a path; the page leaves it before it stops."""
    with contextlib.ExitStack() as servers:
        yield lambda path: servers.enter_context(served(path, tmp_path / f"{path.name}.log"))
        page.goto("about:blank")


@pytest.fixture
def app(page: Page, address: str, run: Run) -> Iterator[App]:
    """The app over ``run``; the page leaves it before the run is deleted."""
    yield App(page, address, run.id)
    page.goto("about:blank")
