"""The real app as a process, and the browser that opens it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

_ROOT = Path(__file__).parents[2]
_FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
_SECONDS_TO_START = 60


def launched(playwright: Playwright) -> Browser:
    """Start Chromium without a window."""
    # The sandbox of Chromium refuses to run as root, and in a container the user is often root.
    flags = [*_FLAGS, "--no-sandbox"] if _is_root() else _FLAGS
    return playwright.chromium.launch(executable_path=_chromium(playwright), args=flags)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _chromium(playwright: Playwright) -> str:
    """Return the path of the system's Chromium, or of Playwright's own."""
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


class served:  # noqa: N801 (used as a context manager, like a function)
    """Run the app over a path; on exit the server must still be alive, and must have written no traceback."""

    def __init__(self, path: Path, log: Path) -> None:
        self._path = path
        self._log = log

    def __enter__(self) -> str:
        until = time.monotonic() + _SECONDS_TO_START
        url = self._start()
        while f"SampleScope is at {url}" not in self._log.read_text():
            ended = self._process.poll() is not None
            if ended and "is taken" in self._log.read_text() and time.monotonic() < until:
                url = self._start()  # another process was given the same free port, and was first
            elif ended or time.monotonic() > until:
                self._process.kill()
                pytest.fail(f"The app did not start:\n{self._log.read_text()}")
            time.sleep(0.05)
        return url

    def _start(self) -> str:
        """Start the server on a port that is free now, and return its address."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "samplescope_app.serve", self._path, "--port", str(port), "--no-browser"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT)
        return f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """Process of the server."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        alive = self._process.poll() is None
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            pytest.fail("The server did not end.")
        log = self._log.read_text()
        if not alive or "Traceback" in log:
            pytest.fail(f"The server failed:\n{log}")
