"""HTTP routes beside Streamlit's own: thumbnails, so that a grid of tiles is plain, cacheable images."""

from __future__ import annotations

from samplescope_app import served
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from attribution_core.errors import InputError

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
        run = served.open_run(request.path_params["run"])
        content, media_type = run.thumbnail(split, request.path_params["row"])
    except InputError as error:
        return PlainTextResponse(str(error), status_code=404)
    except IndexError:
        return PlainTextResponse("This run has no such row.", status_code=404)
    return Response(content, media_type=media_type, headers=_HEADERS)


ROUTES = [Route("/api/thumb/{run}/{split}/{row:int}", thumbnail)]
