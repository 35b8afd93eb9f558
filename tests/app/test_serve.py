"""The start of the app's server."""

import subprocess
import sys


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
