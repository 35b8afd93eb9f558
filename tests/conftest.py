"""What several test folders share."""

import pytest

from attribution_core.runs import Run


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Run:
    """The demo dataset, scored with the defaults, as ``samplescope demo`` does it."""
    from attribution_core.scoring.score import ScoreConfig, score

    return score(ScoreConfig(data="fashion-demo", out=tmp_path_factory.mktemp("runs") / "fashion-demo"))
