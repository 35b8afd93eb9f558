"""The start and the end of the app's server."""

import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from samplescope_app import serve
from tests.support.app_server import served

_HALF_A_DECISION = [
    "POST /api/decisions/digits HTTP/1.1",
    "Host: localhost",
    "Origin: http://localhost",
    "Content-Length: 100",
    "",
    "{",
]


def served_when_told(told: str, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "samplescope_app.serve", path, "--no-browser", "--wait"]
    return subprocess.run(command, input=told, capture_output=True, text=True, timeout=60)


def test_it_waits_for_a_line_and_ends_with_its_writer(tmp_path):
    missing = str(tmp_path / "missing")
    ended = served_when_told("", missing)
    assert (ended.returncode, ended.stderr) == (0, "")  # the path was never looked at
    told = served_when_told("scored\n", missing)
    assert told.returncode == 2
    assert "missing" in told.stderr


def test_it_ends_although_an_answer_is_under_way(tmp_path):
    """Half a request stands for a connection that its browser does not close."""
    with socket.socket() as connection:
        with served(tmp_path, tmp_path / "server.log") as url:
            connection.connect(("127.0.0.1", urlsplit(url).port))
            connection.sendall("\r\n".join(_HALF_A_DECISION).encode())
            time.sleep(0.5)
            start = time.monotonic()
        assert serve._SECONDS_TO_END < time.monotonic() - start < serve._SECONDS_TO_END + 5


@pytest.mark.parametrize(("theme", "page"), [("light", "#FFFFFF"), ("dark", "#171614")])
def test_ten_colors_of_charts_stand_out_from_the_page(theme, page):
    colors = serve._configuration(8501)[f"theme.{theme}.chartCategoricalColors"]
    assert len(set(colors)) == 10
    for color in colors:
        low, high = sorted((_luminance(color), _luminance(page)))
        assert (high + 0.05) / (low + 0.05) >= 2.99, color


def _luminance(color: str) -> float:
    """Return the relative luminance of WCAG."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
