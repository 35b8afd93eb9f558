"""The real app in a real browser. A test fails on a console error or a request that leaves the machine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from attribution_core.runs import Run
from tests.support.app_driver import App
from tests.support.app_server import launched, served
from tests.support.sample_run import make_run


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


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> dict[str, BrowserContext]:
    """A profile for each theme, which loads the app's scripts once for all tests."""
    size = {"width": 1280, "height": 1400}
    return {theme: browser.new_context(viewport=size, color_scheme=theme) for theme in ("light", "dark")}


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


@pytest.fixture
def run(runs_folder: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """A fresh copy of the run for one test, among those served."""
    name = request.node.name.replace("[", "-").replace("]", "")
    path = runs_folder / name
    shutil.copytree(runs_folder / "digits", path)
    yield Run.open(path)
    shutil.rmtree(path)


@pytest.fixture(params=["light"])
def page(contexts: dict[str, BrowserContext], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that collects console errors and requests that leave the machine, and fails the test for them."""
    context = contexts[request.param]
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(_written(message)) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    page.on("request", lambda request: wrong.append(f"sent to {request.url}") if _leaves(request.url) else None)
    yield page
    for other in context.pages:
        other.close()
    context.clear_cookies()
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
    """The app over ``run``; the page leaves it before the run is deleted."""
    yield App(page, address, run.id)
    page.goto("about:blank")
