"""Start the app: ``python -m samplescope_app.serve RUN_OR_FOLDER [--port N] [--no-browser] [--wait]``."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit.runtime.pages_manager import PagesManager

from attribution_core.errors import InputError
from samplescope_app import callbacks
from samplescope_app.data import run_library
from samplescope_app.routes import ROUTES

_ADDRESS = "127.0.0.1"
_HOSTS = ["localhost", _ADDRESS]
_PORTS = range(8501, 8601)
_SECONDS_TO_END = 3.0  # for answers under way
_INTERRUPTED = 130  # exit status, as of a shell
# Of classes and series in charts; samplescope_app.figures.style says how they were chosen.
_ON_LIGHT = [
    "#0072B2",
    "#D76200",
    "#009E73",
    "#CC79A7",
    "#4B9CCA",
    "#B33E1D",
    "#9D952B",
    "#6B757F",
    "#332288",
    "#882255",
]
_ON_DARK = [
    "#56B4E9",
    "#DEA304",
    "#1CD57A",
    "#85548D",
    "#E8FFEB",
    "#B25514",
    "#FFFF12",
    "#BBA1AA",
    "#6F6FE7",
    "#AC3C51",
]


def main(argv: list[str] | None = None) -> int:
    """Serve the app until interrupted.

    Args:
        argv: Command-line arguments, without the name of the program.

    Returns:
        The exit status: 2 for bad input, 130 if interrupted.
    """
    parser = argparse.ArgumentParser(prog="samplescope open", description="View runs in the browser.")
    parser.add_argument("path", type=Path, help="a run, or a folder that holds runs")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: the first free one from 8501)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and do not open a browser")
    parser.add_argument("--reviewer", default="", help="name that decisions get (default: none)")
    parser.add_argument("--wait", action="store_true", help="start when a line of input says so")
    options = parser.parse_args(argv)
    if options.wait and not sys.stdin.readline():  # its writer is gone
        return 0
    try:
        run_library.serve(options.path, options.reviewer)
        port = _free_port(options.port)
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    threading.Thread(target=_announce, args=(port, not options.no_browser), daemon=True).start()
    callbacks.protect()
    # Until main.py has called st.navigation, Streamlit mistakes a folder named pages for its older kind of app.
    PagesManager.uses_pages_directory = False
    # A page on another site must not reach this server through a name that resolves to 127.0.0.1.
    app = st.App(
        Path(__file__).parent / "main.py",
        routes=ROUTES,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)],
        lifespan=_ends_soon,
    )
    try:
        app.run(config=_configuration(port))
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


@contextlib.asynccontextmanager
async def _ends_soon(_app: st.App) -> AsyncIterator[None]:
    """End within seconds of a signal, also if a connection stays open.

    Uvicorn waits without limit for connections, and a browser may open one just then and never use it: 4 of 175 servers
    stayed. Its way to end at once is a second Ctrl+C, which comes here from a timer.
    """
    timer = threading.Timer(_SECONDS_TO_END, _thread.interrupt_main)
    timer.daemon = True
    end = signal.getsignal(signal.SIGINT)  # of uvicorn, which has set it for both signals
    assert callable(end)

    def asked(number: int, frame: FrameType | None) -> None:
        if timer.ident is None:
            timer.start()
        end(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)
    yield
    timer.cancel()


def _configuration(port: int) -> dict[str, object]:
    return {
        "server.address": _ADDRESS,
        "server.port": port,
        "server.allowedHosts": _HOSTS,
        "server.headless": True,  # no question in the terminal; _announce opens the browser
        "server.fileWatcherType": "none",
        # To look through every object of PyTorch and pandas after each interaction takes as long as to draw the page.
        "runner.postScriptGC": False,
        "browser.gatherUsageStats": False,
        "client.showErrorLinks": False,
        "client.toolbarMode": "viewer",
        "logger.hideWelcomeMessage": True,
        "theme.light.chartCategoricalColors": _ON_LIGHT,
        "theme.dark.chartCategoricalColors": _ON_DARK,
        "theme.paddingTop": "0.75rem",
        "theme.light.primaryColor": "#0072B2",
        "theme.light.textColor": "#0A0A0A",  # captions use 60% of it, which leaves a contrast of 4.5
        "theme.dark.primaryColor": "#56B4E9",
    }


def _free_port(port: int) -> int:
    """Return the port, or the first free one for 0.

    Raises:
        InputError: If the port, or every candidate, is taken.
    """
    for candidate in (port,) if port else _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_ADDRESS, candidate))
            except OSError:
                continue
            return candidate
    if port:
        raise InputError(f"Port {port} is taken. Pass another --port, or none for the first free one.")
    raise InputError(f"Ports {_PORTS.start} to {_PORTS.stop - 1} are all taken. Pass a free one with --port.")


def _announce(port: int, open_browser: bool) -> None:
    """Print the address once the server answers, open the browser, and read what its first page needs meanwhile."""
    while True:
        try:
            socket.create_connection((_ADDRESS, port), timeout=5).close()
            break
        except OSError:
            time.sleep(0.05)
    url = f"http://{_ADDRESS}:{port}"
    print(f"SampleScope is at {url} (stop it with Ctrl+C)", flush=True)  # noqa: T201
    if open_browser:
        webbrowser.open(url)
    if (first := run_library.first_run()) is not None:
        with contextlib.suppress(InputError):  # which every page says
            run = run_library.open_run(first)
            _ = run.examples, run.evaluation


if __name__ == "__main__":
    sys.exit(main())
