"""The scores of one example, with a mark at an effect that removing the example cannot have."""

import dataclasses

import numpy as np
import pytest

from attribution_core.runs import CredibleEffects
from samplescope_app.data import effects, session
from samplescope_app.panels import scores
from samplescope_app.wording.text import format_score
from tests.support.app_pages import open_page, page_text, score_rows

MARK, REASON = "not credible", "hardly raises it by more than"


def test_names_and_definitions_from_data_are_text(run, monkeypatch):
    hostile = "<img src=x onerror=alert(1)>"
    measure = dataclasses.replace(run.measure("fsi"), title=hostile, definition=hostile, unit=hostile)
    monkeypatch.setattr(type(run), "measure", lambda *_: measure)
    drawn = scores._bar(run, session.examples(run).iloc[0].to_dict(), "fsi", is_marked=False)
    assert "<img" not in drawn
    assert drawn.count("&lt;img") == 3


def test_a_bar_is_as_long_as_the_percentile(run):
    frame = session.examples(run)
    row = frame.loc[frame["fsi"].idxmax()].to_dict()
    assert "width:100.0%" in scores._bar(run, row, "fsi", is_marked=False)
    missing = row | {"fsi": np.nan, "fsi percentile": np.nan}
    assert "width:0.0%" in scores._bar(run, missing, "fsi", is_marked=False)


def test_a_contribution_that_no_removal_can_have_is_marked_with_the_reason(run):
    highest = run.credible_effects("hydra").highest
    contribution = run.examples.set_index("id")["contribution"]
    assert contribution.max() > highest
    app = open_page("example", run="digits", id=contribution.idxmax())
    (marked,) = (each for each in score_rows(app) if MARK in each)
    assert f"{format_score(contribution.max())} nats" in marked
    assert REASON in page_text(app)
    app = open_page("example", run="digits", id=contribution.abs().idxmin())
    assert not any(MARK in each for each in score_rows(app))
    assert REASON not in page_text(app)


@pytest.mark.parametrize(
    ("score", "method", "lowest"), [("contribution", "hydra", -2.0), ("self_influence", "influence", -0.5)]
)
def test_scores_beyond_what_the_losses_allow_are_recognized(run, monkeypatch, score, method, lowest):
    """A contribution can take the mean loss of the validation examples to zero, self-influence that of the example."""
    monkeypatch.setattr(effects, "credible", lambda *_: CredibleEffects(np.array([1.0, 3.0]), highest=3.5))
    row = session.examples(run).iloc[0].to_dict() | {"loss": 0.5}
    found = [scores._is_beyond(run, row | {score: each}, score, method) for each in (lowest - 0.1, lowest, 3.5, 3.6)]
    assert found == [True, False, False, True]
    assert not scores._is_beyond(run, row | {score: 9.0}, score, "nothing")  # a method that the run does not have
    monkeypatch.setattr(effects, "credible", lambda *_: None)
    assert not scores._is_beyond(run, row | {score: 9.0}, score, method)
