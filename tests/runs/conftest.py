"""A log of decisions that has no file yet."""

from pathlib import Path

import pytest

from attribution_core.runs import DecisionLog


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    return DecisionLog(tmp_path / "decisions.sqlite")
