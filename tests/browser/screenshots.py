"""Makes the README's pictures anew: ``python -m tests.browser.screenshots RUN [--out assets] [--theme light]``.

RUN is the demo's, scored, verified and summarized (``samplescope demo --no-open``, then ``verify`` and ``summarize``).
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from attribution_core.runs import Run
from tests.support.app_driver import App
from tests.support.app_server import launched, served

_WIDTH, _HEIGHT = 1280, 860
_COLOURS = 256  # enough for grey images and charts, at a third of the size


def take(page: Page, app: App, name: str, out: Path, **query: str) -> None:
    """One page as one sees it on opening, once all its figures are drawn."""
    app.open(name, **query)
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.wait_for_timeout(1500)  # figures ease in
    page.get_by_role("button", name="Got it").click()  # the hint of a first visit
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(out / f"{name}.png", optimize=True)
    print(f"{out / name}.png", (out / f"{name}.png").stat().st_size // 1024, "kB")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("assets"))
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    options = parser.parse_args()
    expect.set_options(timeout=60_000)  # on a busy machine a page takes long to be drawn
    run = Run.open(options.run)
    wrong = run.examples[run.examples["label_name"] != run.examples["original_label"]]
    suspect = wrong.sort_values("fsi", ascending=False)["id"].iloc[0]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launched(playwright)
        with served(run.path, Path(folder) / "server.log") as address:
            page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme=options.theme)
            app = App(page, address, run.id)
            take(page, app, "overview", options.out)
            take(page, app, "browse", options.out)
            take(page, app, "example", options.out, id=suspect)
            take(page, app, "classes", options.out, **{"from": "Shirt", "to": "Coat"})
            take(page, app, "training", options.out)
            take(page, app, "summarize", options.out)
            browser.close()


if __name__ == "__main__":
    main()
