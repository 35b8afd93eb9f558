"""HTTP routes in addition to Streamlit's: images, facts, scripts, decisions, the start and the pages' document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from attribution_core.errors import InputError
from attribution_core.export.original import original_picture
from attribution_core.runs import Run
from attribution_core.runs.store import SplitName
from samplescope_app.components import modules
from samplescope_app.data import reviewing, run_library
from samplescope_app.data.navigation import PAGES
from samplescope_app.wording import labels
from samplescope_app.wording.keys import HINTS, keys_of

_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # the address contains the run's version
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_INERT = {"Content-Security-Policy": "default-src 'none'; sandbox"}
_LONGEST_TEXT = 160  # characters on a card
_LONGEST_DECISION = 1 << 20  # bytes
_COMPONENTS = Path(__file__).parent / "components"
_KEYS = json.dumps({name: list(keys_of(name).items()) for name in PAGES})  # the app's own words, with no markup
_FIRST = ("page.js", "history.js", "scroll.js", "help.js")  # run before the app's own scripts, in this order
_SCRIPTS = "\n".join(
    [
        "window.__streamlit = { BACKEND_BASE_URL: window.location.origin };",
        f"window.__samplescopeKeys = {_KEYS};",
        f"window.__samplescopeHints = {json.dumps(HINTS)};",
        *((_COMPONENTS / name).read_text(encoding="utf-8") for name in _FIRST),
    ]
)

# The browser asks for them at once, rather than when the first tiles are to be drawn, and then one after another.
_MODULES = "".join(f'<link rel="modulepreload" href="{modules.address(name)}">' for name in modules.SCRIPTS)


def _about_example(answer: Callable[[Run, SplitName, int], Response]) -> Callable[[Request], Response]:
    """Return a route that answers about an example, or 404. Starlette runs it on a thread, since it reads files."""

    def route(request: Request) -> Response:
        split = request.path_params["split"]
        if split not in ("train", "evaluation"):
            return PlainTextResponse("The split must be train or evaluation.", status_code=404)
        try:
            return answer(run_library.open_run(request.path_params["run"]), split, request.path_params["row"])
        except InputError as error:
            return PlainTextResponse(str(error), status_code=404)
        except IndexError:
            return PlainTextResponse("This run has no such row.", status_code=404)

    return route


@_about_example
def thumbnail(run: Run, split: SplitName, row: int) -> Response:
    """Return a thumbnail."""
    content, media_type = run.thumbnail(split, row)
    return Response(content, media_type=media_type, headers=_HEADERS)


@_about_example
def image(run: Run, split: SplitName, row: int) -> Response:
    """Return the original of an example's picture, if that is an image by its content."""
    content, media_type = original_picture(run, split, row)
    # The file may change, and nothing in it may act as a page of this server.
    return Response(content, media_type=media_type, headers=_HEADERS | {"Cache-Control": "no-cache", **_INERT})


@_about_example
def about(run: Run, split: SplitName, row: int) -> Response:
    """Return what the card of a point says about an example, as JSON."""
    table = run.examples if split == "train" else run.evaluation
    example = {**table.iloc[row].to_dict(), "row": row}
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


def review(request: Request) -> Response:
    """Return the version of a run's decisions, tags and notes, or 404, for pages that wait for another reviewer."""
    try:
        version = run_library.open_run(request.path_params["run"]).decisions.version()
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    return JSONResponse({"version": version}, headers={"Cache-Control": "no-store"})


def script(request: Request) -> Response:
    """Return a module of a component, or 404: for another version too, so that a browser never keeps a wrong one."""
    text = modules.SCRIPTS.get(request.path_params["name"])
    if text is None or request.path_params["version"] != modules.VERSION:
        return PlainTextResponse("There is no such script in this version.", status_code=404)
    return Response(text, media_type="text/javascript", headers=_HEADERS)


async def decide(request: Request) -> Response:
    """Save a decision about examples of a run: an action of :func:`reviewing.decide`, or undo.

    The body is JSON with ``action``; ``examples``, a list of keys; and ``reviewer``, a name. The answer has ``version``
    of the decisions; ``undone``, the keys of the examples whose decision was canceled; and ``told``, what to tell the
    user; or ``failed``, why nothing was saved. A page of another site cannot ask for this: the browser states where a
    request comes from, and that must be here.
    """
    if request.headers.get("origin") != f"{request.url.scheme}://{request.headers.get('host')}":
        return PlainTextResponse("Decisions are taken on the app's own pages only.", status_code=403)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_DECISION:
            return PlainTextResponse("A decision is about fewer examples.", status_code=413)
    try:
        asked = _Asked.model_validate_json(body)
    except ValidationError:
        return PlainTextResponse("A decision is JSON with action, examples and reviewer.", status_code=400)
    try:
        return JSONResponse(await run_in_threadpool(_decided, request.path_params["run"], asked))
    except InputError as error:
        return JSONResponse({"failed": str(error)})


class _Asked(BaseModel, strict=True):
    action: str
    examples: list[str]
    reviewer: str = Field(max_length=60)


def _decided(run_id: str, asked: _Asked) -> dict[str, Any]:
    run = run_library.open_run(run_id)
    undone: list[str] = []
    told = ""
    if asked.action == "undo":
        canceled = reviewing.undo(run, asked.reviewer, asked.examples[0] if asked.examples else None)
        undone = [f"{split}/{example_id}" for split, example_id in canceled.examples]
        told = reviewing.undone_in_words(canceled)
    else:
        reviewing.decide(run, asked.examples, asked.action, asked.reviewer)
    return {"version": run.decisions.version(), "undone": undone, "told": told}


def start(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """Redirect the address without a page to the server's first run, or to the list of runs.

    A redirect is used because a page that switches to another one would trap the browser's Back button.
    """
    run_id = run_library.first_run()
    return RedirectResponse("/runs" if run_id is None else f"/overview?run={quote(run_id, safe='')}")


def page(request: Request) -> Response:  # noqa: ARG001 (Starlette's signature)
    """Return Streamlit's document with the address of its server, and the scripts for history, scrolling and keys.

    Without the address, the script of a page such as /browse first requests /browse/_stcore/health, which fails with an
    error in the browser's console and costs time.
    """
    document = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    script = f"<script>{_SCRIPTS}</script>"
    document = document.replace("<head>", f"<head>{script}", 1).replace("</head>", f"{_MODULES}</head>", 1)
    return HTMLResponse(document, headers={"Cache-Control": "no-cache"})


ROUTES = [
    Route("/", start),
    Route("/api/components/{version}/{name}", script),
    Route("/api/decisions/{run}", decide, methods=["POST"]),
    *(Route(f"/{name}", page) for name in PAGES),
    Route("/api/review/{run}", review),
    Route("/api/thumb/{run}/{split}/{row:int}", thumbnail),
    Route("/api/image/{run}/{split}/{row:int}", image),
    Route("/api/about/{run}/{split}/{row:int}", about),
]
