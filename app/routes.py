"""HTTP routes in addition to Streamlit's: images, facts of an example, how far a review is, the pages' document."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from attribution_core.errors import InputError
from samplescope_app.data import run_library
from samplescope_app.data.navigation import PAGES
from samplescope_app.wording import labels

_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # the address contains the run's version
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_LONGEST_TEXT = 160  # characters on a card
_HISTORY = (Path(__file__).parent / "components" / "history.js").read_text(encoding="utf-8")


def thumbnail(request: Request) -> Response:
    """Return a thumbnail, or 404. Starlette runs this on a thread, since it is not async and reads a file."""
    split = request.path_params["split"]
    if split not in ("train", "evaluation"):
        return PlainTextResponse("The split must be train or evaluation.", status_code=404)
    try:
        run = run_library.open_run(request.path_params["run"])
        content, media_type = run.thumbnail(split, request.path_params["row"])
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    except IndexError:
        return PlainTextResponse("This run has no such row.", status_code=404)
    return Response(content, media_type=media_type, headers=_HEADERS)


def review(request: Request) -> Response:
    """Return the version of a run's decisions, tags and notes, or 404, for pages that wait for another reviewer."""
    try:
        version = run_library.open_run(request.path_params["run"]).decisions.version()
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    return JSONResponse({"version": version}, headers={"Cache-Control": "no-store"})


def about(request: Request) -> Response:
    """Return what the card of a point says about an example, as JSON, or 404."""
    split, row = request.path_params["split"], request.path_params["row"]
    if split not in ("train", "evaluation"):
        return PlainTextResponse("The split must be train or evaluation.", status_code=404)
    try:
        run = run_library.open_run(request.path_params["run"])
        table = run.examples if split == "train" else run.evaluation
        example = {**table.iloc[row].to_dict(), "row": row}
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    except IndexError:
        return PlainTextResponse("This run has no such row.", status_code=404)
    label, predicted = labels.on_tile(run, example)
    text = str(example.get("text", ""))
    return JSONResponse(
        {
            "id": str(example["id"]),
            "label": str(label),
            "predicted": str(predicted),
            "text": text[:_LONGEST_TEXT],
            "src": "" if "text" in example else run_library.thumbnail_url(run, split, row),
            "words": f"{example['id']}, {labels.in_words(run, example)}",
        },
        headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
    )


def start(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """Redirect the address without a page to the server's first run, or to the list of runs.

    A redirect is used because a page that switches to another one would trap the browser's Back button.
    """
    run_id = run_library.first_run()
    return RedirectResponse("/runs" if run_id is None else f"/overview?run={quote(run_id, safe='')}")


def page(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """Return Streamlit's document with the address of its server, and what keeps Back from being trapped.

    Without the address, the script of a page such as /browse first requests /browse/_stcore/health, which fails with an
    error in the browser's console and costs time.
    """
    document = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    script = f"<script>window.__streamlit = {{ BACKEND_BASE_URL: window.location.origin }}; {_HISTORY}</script>"
    return HTMLResponse(document.replace("<head>", f"<head>{script}", 1), headers={"Cache-Control": "no-cache"})


ROUTES = [
    Route("/", start),
    *(Route(f"/{name}", page) for name in PAGES),
    Route("/api/review/{run}", review),
    Route("/api/thumb/{run}/{split}/{row:int}", thumbnail),
    Route("/api/about/{run}/{split}/{row:int}", about),
]
