"""A made-up run that tests may change."""

import shutil
from pathlib import Path

import pytest

from attribution_core.runs import Run
from tests.support.given_scores import N
from tests.support.sample_run import make_run


@pytest.fixture(scope="package")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 60 digits, to copy."""
    return make_run(tmp_path_factory.mktemp("runs") / "digits", n=N)


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Run:
    """A copy of the run."""
    return Run.open(shutil.copytree(digits_run, tmp_path / "digits"))
