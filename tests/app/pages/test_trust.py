"""Trust: what it takes to verify more, and what the page shows without a verification."""

import numpy as np
import pandas as pd
import pytest

from samplescope_app.data import run_library
from samplescope_app.figures import truth_scatter
from samplescope_app.panels.verification import missing_trainings
from tests.support.app_pages import open_page, page_text
from tests.support.sample_run import make_run


@pytest.mark.parametrize("name", ["compare", "trust"])
def test_without_scores_the_pages_say_what_to_do(tmp_path, name):
    run_library.serve(tmp_path)
    assert "No run is open" in page_text(open_page(name))
    make_run(tmp_path / "cut", n=40, scored=False)
    (tmp_path / "cut" / "examples.parquet").unlink()
    assert "run the same score command again" in page_text(open_page(name, run="cut"))


def test_what_was_not_verified_is_said(tmp_path):
    make_run(tmp_path / "plain", n=40, evidence=False)
    run_library.serve(tmp_path)
    assert "Not verified yet: Trust compares" in page_text(open_page("overview", run="plain"))
    trust = open_page("trust", run="plain")
    assert "Not verified yet" in page_text(trust)
    assert "182 trainings to do" in page_text(trust)  # 2 (1 + 40 + 50)


def test_trainings_that_are_done_are_not_counted_again():
    places = [True, True, True, False, True]
    done = pd.DataFrame({"removed": [0, 1, 1, 30, 0], "seed": [5, 5, 5, 5, 6], "keeps_places": places})
    assert missing_trainings(done, 5, examples=4, halves=6, seeds=2) == (2 + 5) + (4 + 6)
    assert missing_trainings(done, 5, examples=2, halves=0, seeds=1) == 0
    assert missing_trainings(done, 0, examples=2, halves=0, seeds=1) == 3


def test_the_diagonal_is_for_one_unit_alone():
    x = np.array([0.0, 1.0, 2.0])
    figure = truth_scatter(x, 2 * x + 1, np.full(3, np.nan), "predicted", "actual", same_unit=False)
    assert [trace.name for trace in figure.data] == ["removed examples", "least squares"]
    slope = np.diff(figure.data[1].y) / np.diff(figure.data[1].x)
    assert np.allclose(slope, 2)
    assert not figure.data[0].error_y.visible
    figure = truth_scatter(x, x, np.ones(3), "predicted", "actual", same_unit=True)
    assert figure.data[-1].name == "as predicted"
    assert figure.data[0].error_y.visible
    assert len(truth_scatter(np.ones(3), x, np.ones(3), "predicted", "actual", True).data) >= 1
