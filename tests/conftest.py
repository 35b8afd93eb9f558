"""What all tests share: one thread for each worker, and the scored demo."""

import os
import sys
from collections.abc import Iterator

import pytest

from attribution_core.runs import Run
from tests.support.workers import made_once, share_cores


def pytest_configure(config: pytest.Config) -> None:
    share_cores(config)


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_disks() -> Iterator[None]:
    """Do not wait until files have reached the disk, a hundred times a run: no test loses its power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def without_sentence_encoder() -> Iterator[None]:
    """Leave out the encoder that label quality tries where it is installed: to load it takes ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution_core.preparation.prepare.has_minilm", lambda: False)
        yield


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Restore the main module: Streamlit's AppTest leaves its script there, and a new process would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo dataset, scored with the defaults as ``samplescope demo`` does; for reading only."""
    from attribution_core.scoring.score import ScoreConfig, score

    folder = made_once(tmp_path_factory, "fashion-demo", lambda out: score(ScoreConfig(data="fashion-demo", out=out)))
    return Run.open(folder)
