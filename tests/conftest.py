"""What all tests share: one thread for each worker, and the scored demo."""

import pytest

from attribution_core.runs import Run
from tests.support.workers import made_once, share_cores


def pytest_configure(config: pytest.Config) -> None:
    share_cores(config)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo dataset, scored with the defaults as ``samplescope demo`` does; for reading only."""
    from attribution_core.scoring.score import ScoreConfig, score

    folder = made_once(tmp_path_factory, "fashion-demo", lambda out: score(ScoreConfig(data="fashion-demo", out=out)))
    return Run.open(folder)
