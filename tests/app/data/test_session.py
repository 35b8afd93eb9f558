"""The training examples of a run with their percentiles."""

import pytest

from samplescope_app.data import session


def test_percentiles_say_how_many_score_this_or_less(run):
    frame = session.examples(run)
    assert frame["fsi percentile"].max() == 100
    middle = frame.iloc[10]
    assert middle["fsi percentile"] == pytest.approx((frame["fsi"] <= middle["fsi"]).mean() * 100)
