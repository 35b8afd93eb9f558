"""Time the app in Chromium on a run of 50,000 training and 1,000 evaluation examples.

    python -m tests.benchmarks.app [--data-root DIR] [--run DIR]

``tests/benchmarks/large_run.py`` makes the run (in a minute), by default in the system's folder for temporary files,
and the run is kept there. Times are those that a user waits: from the click (or the address) until the result,
including images, is painted, in a browser on the same machine. The first visit is the server's first ever, with nothing
cached; the others are the median and the worst of five. Memory is the server's largest resident set over the whole
visit.

The browser bounds the first visit: of its 3 s on two cores, Chromium takes 0.8 s to read Streamlit's scripts; the
server then 0.8 s, less what it reads while the browser starts; and the browser 1.3 s more, of which Plotly takes 0.5 s
and React most of the rest. Tiles are drawn after 1.9 s, before Plotly is read, since the page's document asks for
their modules at once; that Plotly, too, is asked for at once delays them by 0.5 s.

Lower bounds: a page is one round trip over the websocket and one run of its script, 50 ms for an empty one; 60
thumbnails are 180 kB. A row of effects is two chunks of a mebibyte; a column is 98, which decompress in 60 ms. The map
is 50,000 points of eight bytes.
"""

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.benchmarks.large_run import make_large_run
from tests.support.app_driver import App
from tests.support.app_server import launched, served

REPEATS = 5
LIMITS = {
    "overview, first visit": 3.0,
    "overview": 3.0,
    "browse, page turn": 1.0,
    "click to influencers": 1.0,
    "click to influencers of an evaluation example": 1.0,
    "map, first visit": 3.0,
    "map": 3.0,
}
MEMORY_LIMIT = 2.0  # GB
_PAINTED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"""
_TILES = """([name, count]) => [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")].some((place) => {
  const list = place.shadowRoot?.querySelector("[role=listbox]");
  return list?.getAttribute("aria-label") === name && list.children.length >= count;
})"""
_BARS = """() => document.querySelector(".js-plotly-plot .bars .point") !== null"""
_POINTS = """(count) => [...document.querySelectorAll(".js-plotly-plot")].some((plot) =>
  plot._fullData && plot._fullData.reduce((sum, trace) => sum + (trace._length ?? 0), 0) >= count
  && plot.querySelector("canvas"))"""
_SHOWN = """(text) => document.body.innerText.includes(text)"""
_PICTURES = """() => {
  const images = [];
  const look = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.tagName === "IMG") images.push(node);
      if (node.shadowRoot) look(node.shadowRoot);
    }
  };
  look(document);
  const seen = images.filter(
    (image) => image.checkVisibility() && image.src && image.getBoundingClientRect().top < window.innerHeight);
  return seen.every((image) => image.complete && image.naturalWidth > 0);
}"""


class Visit:
    """Time what a user waits for."""

    def __init__(self, app: App) -> None:
        self.app, self.page = app, app.page
        self.seconds: dict[str, list[float]] = {}

    def timed(self, what: str, act: Callable[[], object], *seen: tuple[str, object]) -> None:
        """Time from before ``act`` until all of ``seen`` (scripts with their arguments) and the images are painted."""
        start = time.perf_counter()
        act()
        for script, argument in seen:
            # Polls 50 times a second: Playwright's expect() polls once a second after the first second.
            self.page.wait_for_function(script, arg=argument, polling=20)
        self.page.wait_for_function(_PICTURES, polling=20)
        self.page.evaluate(_PAINTED)
        self.seconds.setdefault(what, []).append(time.perf_counter() - start)
        self.app.settle()  # the next measurement starts with an idle page

    def overview(self, what: str) -> None:
        address = f"{self.app.address}/overview?run={self.app.run_id}"
        tiles = (_TILES, ["Most informative", 24])
        self.timed(what, lambda: self.page.goto(address, wait_until="commit"), tiles, (_BARS, None))

    def browse(self) -> None:
        self.app.open("browse")
        for number in range(1, REPEATS + 1):
            shown = f"{number * 60 + 1:,} to"
            self.timed("browse, page turn", self.app.button("Next").click, (_SHOWN, shown))

    def influencers(self) -> None:
        for number in range(REPEATS):
            self.app.open("browse")
            expect(self.app.tiles()).to_have_count(60)
            self.timed("click to influencers", self.app.tiles().nth(7 * number).click, (_TILES, ["Helps most", 12]))
            what = "click to influencers of an evaluation example"
            helped = self.app.tiles("Helps most").first
            self.timed(what, helped.click, (_TILES, ["Most helpful", 12]))

    def map(self, what: str) -> None:
        self.app.open("runs")
        address = f"{self.app.address}/map?run={self.app.run_id}"
        self.timed(what, lambda: self.page.goto(address, wait_until="commit"), (_POINTS, 40_000))


def peak_memory(pid: int) -> float:
    """Return the largest resident set of a process, in GB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1e6


def main() -> None:
    """Print one JSON line for each time, and one for the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="folder that holds cifar10/")
    parser.add_argument("--run", type=Path, default=Path(tempfile.gettempdir()) / "samplescope-benchmark" / "large")
    options = parser.parse_args()
    run = make_large_run(options.run, options.data_root)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launched(playwright)
        server = served(run, Path(folder) / "server.log")
        with server as address:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            visit = Visit(App(page, address, run.name))
            visit.overview("overview, first visit")
            for _ in range(REPEATS):
                visit.overview("overview")
            visit.browse()
            visit.influencers()
            visit.map("map, first visit")
            for _ in range(REPEATS):
                visit.map("map")
            memory = peak_memory(server.pid)
            browser.close()
    for what, seconds in visit.seconds.items():
        found = {"seconds": round(statistics.median(seconds), 3), "worst": round(max(seconds), 3)}
        limit = LIMITS[what]
        print(json.dumps({"benchmark": "app", "what": what, **found, "limit": limit, "met": max(seconds) < limit}))
    print(
        json.dumps(
            {
                "benchmark": "app",
                "what": "server memory",
                "GB": round(memory, 2),
                "limit": MEMORY_LIMIT,
                "met": memory < MEMORY_LIMIT,
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
