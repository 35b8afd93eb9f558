"""HTTP routes beside Streamlit's own: thumbnails, and the entry to the pages."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from attribution_core.errors import InputError
from samplescope_app.data import run_library
from samplescope_app.data.navigation import PAGES

_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # the address carries the run's version
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def thumbnail(request: Request) -> Response:
    """One thumbnail, or 404. Starlette runs this in a thread, since it reads a file."""
    split = request.path_params["split"]
    if split not in ("train", "evaluation"):
        return PlainTextResponse("The split is train or evaluation.", status_code=404)
    try:
        run = run_library.open_run(request.path_params["run"])
        content, media_type = run.thumbnail(split, request.path_params["row"])
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    except IndexError:
        return PlainTextResponse("This run has no such row.", status_code=404)
    return Response(content, media_type=media_type, headers=_HEADERS)


def start(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """The address without a page goes on to the run the server was given, or to the list of runs.

    A redirect and not a page, since a page that switches to another one would catch the browser's Back button.
    """
    run_id = run_library.first_run()
    return RedirectResponse("/runs" if run_id is None else f"/overview?run={quote(run_id, safe='')}")


def page(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """Streamlit's own document, told where its server is.

    On an address such as /browse its script else asks /browse/_stcore/health first, which is an error in the browser's
    console and a needless wait.
    """
    document = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    script = "<script>window.__streamlit = { BACKEND_BASE_URL: window.location.origin }</script>"
    return HTMLResponse(document.replace("<head>", f"<head>{script}", 1), headers={"Cache-Control": "no-cache"})


ROUTES = [
    Route("/", start),
    *(Route(f"/{name}", page) for name in PAGES),
    Route("/api/thumb/{run}/{split}/{row:int}", thumbnail),
]
