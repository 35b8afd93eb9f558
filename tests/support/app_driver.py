"""What a user does in the app and sees there, as methods."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect

THEMES = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
SHOWN = 12  # tiles in a strip
_SECONDS_TO_WAIT = 30.0

# Ends with true when the app's script starts: until then the page that is left looks like one that is done. If none is
# seen to start, because its start and end were drawn at once, the answer is false.
_OPEN_WITHIN = """
(url) => new Promise((answer) => {
  const app = document.querySelector("[data-testid=stApp]");
  const watch = new MutationObserver(() => done(true));
  const late = setTimeout(() => done(false), 10000);
  const done = (started) => { watch.disconnect(); clearTimeout(late); answer(started); };
  watch.observe(app, { attributeFilter: ["data-test-script-state"] });
  history.pushState({}, "", url);
  dispatchEvent(new PopStateEvent("popstate"));
})
"""

# Whether the script has answered the last message and is done. Of those messages that no answer follows, none is waited
# for longer than five seconds.
_IS_DONE = """
() => {
  const state = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState;
  const { sent, received } = window.messages ?? { sent: 0, received: 0 };
  const now = performance.now();
  return state === "notRunning" && (received > sent ? now - received > 30 : now - sent > 5000);
}
"""
_STATE = """
() => ({
  state: document.querySelector("[data-testid=stApp]")?.dataset.testScriptState,
  ...window.messages, now: performance.now(), at: location.href,
})
"""


class App:
    """The app in a browser, over one run."""

    def __init__(self, page: Page, address: str, run_id: str) -> None:
        self.page = page
        self.address = address
        self.run_id = run_id

    def open(self, path: str, **query: str) -> None:
        """Open a page by its address; once in the app, as Back does, which loads no script again."""
        url = f"{self.address}/{path}?{urlencode({'run': self.run_id, **query})}"
        within = self.page.url.startswith(f"{self.address}/")
        if within:
            self.settle()
            within = self.page.evaluate(_OPEN_WITHIN, url)
        if not within:
            self.page.goto(url)
        self.wait_for_path(f"/{path}")

    def settle(self) -> None:
        """Wait until the script has run and the page is drawn."""
        self.wait_for_script()
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0)
        expect(self.page.get_by_test_id("stException")).to_have_count(0)

    def wait_for_script(self) -> None:
        """Wait until the script has run."""
        try:
            self.page.wait_for_function(_IS_DONE, timeout=30_000)
        except TimeoutError as error:
            raise AssertionError(f"The script is not done: {self.page.evaluate(_STATE)}") from error

    def wait_for_pictures(self) -> None:
        """Wait until every picture is loaded."""
        images = self.page.locator("img")
        eventually(lambda: images.evaluate_all("all => all.every((image) => image.complete)"), True)

    def go(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).click()
        self.wait_for_path(f"/{name.lower()}")

    def go_back_to(self, name: str) -> None:
        """Follow a link of Example's trail."""
        self.page.locator(".st-key-trail").get_by_role("link", name=name).click()

    def tiles(self, name: str = "Training examples") -> Locator:
        return self.page.get_by_role("listbox", name=name).get_by_role("option")

    def picture(self) -> Locator:
        """Return the large image of Example and Review."""
        return self.page.locator(".gallery.picture img")

    def shows(self, row: int) -> None:
        """Wait until the large image is that of a row, since a key acts on the image shown."""
        expect(self.picture()).to_have_attribute("alt", re.compile(f"^#{row},"))

    def shows_evaluation(self, row: int) -> None:
        """Wait until the large image is that of an evaluation row."""
        expect(self.picture()).to_have_attribute("alt", re.compile(rf"^#{row} of (validation|test),"))

    def shows_rows(self, name: str, rows: list[int], first: int | None = None) -> None:
        """Wait until a strip, or its first tiles, are those of some rows, which their descriptions tell."""
        until = time.monotonic() + _SECONDS_TO_WAIT
        while (shown := self._rows(name)[:first]) != rows and time.monotonic() < until:
            self.page.wait_for_timeout(100)
        assert shown == rows, (shown, rows)

    def _rows(self, name: str) -> list[int]:
        found = self.tiles(name).get_by_role("img").evaluate_all("images => images.map(image => image.alt)")
        return [int(number.group(1)) if (number := re.match(r"#(\d+)", each)) else -1 for each in found]

    def choose(self, label: str, option: str, exact: bool = True) -> None:
        """Choose an option of a menu, by its text or a part of it.

        What was done before may draw the menu anew and close it under the pointer; it is opened again then.
        """
        until = time.monotonic() + _SECONDS_TO_WAIT
        while True:
            self.page.get_by_role("combobox", name=label, exact=True).click()
            try:
                self.page.get_by_role("option", name=option, exact=exact).click(timeout=3_000)
                break
            except TimeoutError:
                if time.monotonic() > until:
                    raise
            self.page.keyboard.press("Escape")
            self.settle()
        self.settle()

    def badge(self, text: str) -> Locator:
        return self.page.locator(".stMarkdownBadge", has_text=text)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    @property
    def example_id(self) -> str:
        return parse_qs(urlsplit(self.page.url).query)["id"][0]

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def wait_for_path(self, path: str) -> None:
        self.page.wait_for_url(lambda url: urlsplit(url).path == path)
        self.settle()
        if path in ("/example", "/review"):
            expect(
                self.page.locator(".gallery.picture > :first-child")
            ).to_be_visible()  # keys are answered from here on


def eventually(look: Callable[[], object], expected: object) -> None:
    """Wait until something is as expected: what the browser shows at once, Python learns a moment later."""
    until = time.monotonic() + _SECONDS_TO_WAIT
    while (found := look()) != expected and time.monotonic() < until:
        time.sleep(0.05)
    assert found == expected


def strongest(effects: np.ndarray, sign: int) -> list[int]:
    """Return the rows that the strip of one sign should show, in order."""
    order = np.argsort(-sign * effects, kind="stable")
    return [int(row) for row in order if sign * effects[row] > 0][:SHOWN]
