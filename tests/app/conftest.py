"""A run that the tests of the app without a browser share."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution_core.runs import Run
from samplescope_app.data import run_library
from tests.support.sample_run import make_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "digits", n=80)
    return folder


@pytest.fixture
def run(folder: Path) -> Run:
    """The run, which the app serves and in which nothing is decided."""
    for file in (folder / "digits").glob("decisions.sqlite*"):
        file.unlink()
    run_library.serve(folder)
    return run_library.open_run("digits")
