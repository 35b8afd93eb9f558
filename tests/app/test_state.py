"""Filters, order and the lookup of runs."""

import numpy as np
import pytest

from attribution_core.errors import InputError
from samplescope_app import served, state
from samplescope_app.state import Filters


def test_filters_narrow_and_sort(run):
    every = state.matching(run, Filters("fsi"))
    assert len(every) == len(run.examples)
    assert every["fsi"].is_monotonic_decreasing
    assert state.matching(run, Filters("fsi", descending=False))["fsi"].is_monotonic_increasing
    some = state.matching(run, Filters("fsi", classes=["digit 3"], wrong_only=True))
    assert set(some["label_name"]) <= {"digit 3"}
    assert not some["correct"].any()
    low, high = np.quantile(run.examples["fsi"], [0.2, 0.4])
    between = state.matching(run, Filters("fsi", low=low, high=high))
    assert between["fsi"].between(low, high).all()
    assert len(state.matching(run, Filters("fsi", text="TRAIN-0001"))) == 10
    assert len(state.matching(run, Filters("fsi", text="("))) == 0
    grouped = state.matching(run, Filters("fsi", group="original_label", group_values=["digit 1"]))
    assert set(grouped["original_label"]) == {"digit 1"}


def test_decisions_show_at_once(run):
    run.decisions.record(["train-00003"], "relabel", 7)
    row = state.examples(run).set_index("id").loc["train-00003"]
    assert (row["action"], row["new_label_name"]) == ("relabel", "digit 7")
    assert len(state.matching(run, Filters("fsi", decisions=["relabel"]))) == 1
    assert len(state.matching(run, Filters("fsi", decisions=[""]))) == len(run.examples) - 1


def test_percentiles_say_how_many_score_this_or_less(run):
    frame = state.examples(run)
    assert frame["fsi percentile"].max() == 100
    middle = frame.iloc[10]
    assert middle["fsi percentile"] == pytest.approx((frame["fsi"] <= middle["fsi"]).mean() * 100)


@pytest.mark.parametrize("run_id", ["", ".", "..", "../digits", "digits/", "/etc", "digits/thumbnails", "nothing"])
def test_a_run_id_is_the_name_of_a_run(run, run_id):
    with pytest.raises(InputError, match="There is no run"):
        served.open_run(run_id)


def test_a_run_that_changed_is_opened_anew(run, folder):
    assert served.open_run("digits") is run
    file = folder / "digits" / "run.json"
    file.write_text(file.read_text().replace("digits, digits", "renamed"))
    assert served.open_run("digits").title == "renamed"
    file.write_text(file.read_text().replace("renamed", "digits, digits"))
