"""The app answers this machine only, and text from a dataset stays text."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run
from samplescope_app.components import modules
from tests.support.app_driver import App
from tests.support.sample_run import make_run


def status(address: str, path: str, host: str | None = None) -> int:
    """The status of a request whose path and Host header are sent as they are."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or parts.netloc)
    connection.endheaders()
    code = connection.getresponse().status
    connection.close()
    return code


def sent(address: str, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, bytes]:
    """The status and body of the answer to a request that is sent as it is."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer


def decided(address: str, run: str, body: str, **headers: str) -> tuple[int, str]:
    """The status and body of the answer to a decision."""
    code, answer = sent(address, f"/api/decisions/{run}", "POST", body, **headers)
    return code, answer.decode()


@pytest.mark.parametrize("path", ["/", "/overview", "/api/thumb/digits/train/0", "/_stcore/health"])
def test_a_forged_host_is_refused(address: str, path: str):
    assert status(address, path) in (200, 307)
    assert status(address, path, host="localhost:1234") in (200, 307)
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"):
        assert status(address, path, host=host) == 400


@pytest.mark.parametrize(
    "path",
    [
        "/api/about/../digits/train/0",
        "/api/about/%2fetc%2fpasswd/train/0",
        "/api/about/digits/run.json/0",
        "/api/about/digits/train/99999",
        "/api/image/../digits/train/0",
        "/api/image/%2fetc%2fpasswd/train/0",
        "/api/image/digits/run.json/0",
        "/api/image/digits/train/0",  # whose data are in a table
        "/api/thumb/../digits/train/0",
        "/api/thumb/..%2fdigits/train/0",
        "/api/thumb/%2e%2e%2fruns%2fdigits/train/0",
        "/api/thumb/..%5cdigits/train/0",
        "/api/thumb/%2fetc%2fpasswd/train/0",
        "/api/thumb/./train/0",
        "/api/thumb/%2e/train/0",
        "/api/thumb/digits/..%2f..%2frun/0",
        "/api/thumb/digits/run.json/0",
        "/api/thumb/digits/train/-1",
        "/api/thumb/digits/train/99999",
        "/api/thumb/nothing/train/0",
    ],
)
def test_the_thumbnail_route_serves_thumbnails_only(address: str, path: str):
    code, body = sent(address, path)
    # An address that is no route gets Streamlit's own page, which holds nothing of the run.
    assert code in (400, 404) or b"<title>Streamlit</title>" in body
    assert b"PNG" not in body


def test_decisions_come_from_the_own_pages_only(address: str, run: Run):
    body = json.dumps({"action": "drop", "examples": ["train/train-00000"], "reviewer": ""})
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"{address}.evil.example"}):
        assert decided(address, run.id, body, **headers)[0] == 403
    assert run.decisions.current().empty
    assert decided(address, run.id, body, Origin=address)[0] == 200
    assert run.decisions.current()["id"].tolist() == ["train-00000"]


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "drop", "examples": ["train/nobody"], "reviewer": ""},
        {"action": "drop", "examples": ["elsewhere/train-00000"], "reviewer": ""},
        {"action": "drop", "examples": [], "reviewer": ""},
        {"action": "drop", "examples": ["train/train-00000", "test/nobody"], "reviewer": ""},
        {"action": "relabel 99", "examples": ["train/train-00000"], "reviewer": ""},
        {"action": "relabel nan", "examples": ["train/train-00000"], "reviewer": ""},
        {"action": "DROP TABLE log", "examples": ["train/train-00000"], "reviewer": ""},
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(address: str, run: Run, asked: dict[str, object]):
    code, answer = decided(address, run.id, json.dumps(asked), Origin=address)
    assert code == 200
    assert set(json.loads(answer)) == {"failed"}
    assert run.decisions.current().empty


def test_what_is_no_decision_is_refused(address: str, run: Run):
    nothing = {"action": "undo", "examples": [], "reviewer": ""}
    wrong = ({}, nothing | {"action": 1}, nothing | {"examples": [1]}, nothing | {"reviewer": "x" * 61})
    for body in ("", "[]", "not JSON", *map(json.dumps, wrong)):
        assert decided(address, run.id, body, Origin=address)[0] == 400
    assert decided(address, run.id, " " * (1 << 21), Origin=address)[0] == 413
    for name in ("nothing", "..", "%2e%2e%2fruns"):
        assert decided(address, name, json.dumps(nothing), Origin=address)[0] in (200, 400, 404, 405)
    assert run.decisions.version() == 0


@pytest.mark.parametrize("name", ["../__init__.py", "..%2f__init__.py", "types.d.ts", "gallery.css", "nothing.js"])
def test_the_route_of_scripts_serves_scripts_only(address: str, name: str):
    assert status(address, modules.address("index.js")) == 200
    assert status(address, modules.address(name)) in (400, 404)
    assert status(address, "/api/components/0123456789abcdef/index.js") == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/review/digits", 200),
        ("/api/review/nothing", 404),
        ("/api/review/..%2fdigits", 404),
        ("/api/review/%2fetc%2fpasswd", 404),
    ],
)
def test_the_state_of_a_review_is_a_number(address: str, path: str, status: int):
    code, body = sent(address, path)
    if status == 200:
        assert (code, list(json.loads(body))) == (200, ["version"])
    else:
        assert code in (400, status) or b"<title>Streamlit</title>" in body


def test_only_this_machine_is_listened_to(address: str):
    port = urlsplit(address).port
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:] if Path("/proc/net/tcp").exists() else []
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert {local for local in listening if int(local.split(":")[1], 16) == port} <= {f"0100007F:{port:04X}"}


def written(locator: Locator) -> str:
    """The text as one sees it: without the invisible characters that keep an address from becoming a link."""
    return locator.inner_text().replace("\u2060", "")


def test_text_from_the_data_stays_text(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    html = "<img src=x onerror=alert(1)>"
    markdown = "![x](http://evil.example/x.png) [y](http://evil.example) $z$ :red[w]"
    names = [html, markdown, *(f"digit {i}" for i in range(2, 10))]
    ids = [f"{html}{i}" if i % 2 else f"{markdown}{i}" for i in range(60)]
    make_run(tmp_path / "runs" / "hostile", n=60, class_names=names, ids=ids)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    url = serve(tmp_path / "runs" / "hostile")
    app = App(page, url, "hostile")
    app.open("browse")
    expect(app.tiles()).to_have_count(60)
    expect(app.tiles().get_by_text(html, exact=True).first).to_be_visible()
    for id_, key, name in ((ids[0], "1", markdown), (ids[1], "0", html)):
        app.open("example", id=id_)
        start, _, end = written(page.get_by_role("heading", level=4)).strip().partition("…")  # a long one is cut
        assert start
        assert id_.startswith(start)
        assert id_.endswith(end)
        app.press(key)
        expect(app.badge("relabeled")).to_be_visible()
        assert written(app.badge("relabeled")).endswith(f"relabeled {name}")
        app.press("u")
        expect(page.get_by_text("Undone: relabel of")).to_be_visible()
    for name in ("Overview", "Review", "Runs"):
        app.go(name)
    assert page.locator("img[src*=evil], img[src=x], a[href*=evil]").count() == 0
