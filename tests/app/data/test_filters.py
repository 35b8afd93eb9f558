"""The filters and the order of Browse."""

import numpy as np
import pytest
import streamlit as st

from samplescope_app.data import filters, session
from samplescope_app.data.filters import Filters


@pytest.fixture(autouse=True)
def _no_cache():
    """Clear the cache: the new decision log of each test has the version of the previous test's."""
    st.cache_resource.clear()


def matching(run, *values, **named):
    return session.examples(run).iloc[filters.matching(run, Filters("fsi", *values, **named))]


def test_filters_narrow_and_sort(run):
    every = matching(run)
    assert len(every) == len(run.examples)
    assert every["fsi"].is_monotonic_decreasing
    assert matching(run, descending=False)["fsi"].is_monotonic_increasing
    some = matching(run, classes=["digit 3"], wrong_only=True)
    assert set(some["label_name"]) <= {"digit 3"}
    assert not some["correct"].any()
    low, high = np.quantile(run.examples["fsi"], [0.2, 0.4])
    between = matching(run, low=low, high=high)
    assert between["fsi"].between(low, high).all()
    assert len(matching(run, text="TRAIN-0001")) == 10
    assert len(matching(run, text="(")) == 0
    grouped = matching(run, group="original_label", group_values=["digit 1"])
    assert set(grouped["original_label"]) == {"digit 1"}


def test_examples_of_another_split_pass_the_same_filters(run):
    everything, n = session.everything(run), len(run.examples)
    for split in ("validation", "test"):
        found = filters.matching(run, Filters("loss", descending=False, split=split))
        listed = everything.iloc[found]
        assert set(listed["split"]) == {split}
        assert sorted(found - n) == np.flatnonzero(run.evaluation["split"] == split).tolist()
        assert listed["loss"].is_monotonic_increasing
    some = everything.iloc[filters.matching(run, Filters("loss", split="test", wrong_only=True))]
    test = run.evaluation[run.evaluation["split"] == "test"]
    assert set(some["id"]) == set(test.loc[~test["correct"], "id"])
    run.decisions.record([test["id"].iloc[4]], "drop", split="test")
    dropped = filters.matching(run, Filters("loss", split="test", decisions=["drop"]))
    assert everything.iloc[dropped]["id"].tolist() == [test["id"].iloc[4]]


def test_a_split_without_the_score_is_not_listed(run):
    assert session.splits_of(run, "loss") == ["train", "validation", "test"]
    assert session.splits_of(run, "fsi") == ["train"]


def test_a_selection_is_a_filter_among_others(run):
    chosen = matching(run, selection=(70, 3, 12, 5))
    assert set(chosen["row"]) == {3, 5, 12, 70}
    assert chosen["fsi"].is_monotonic_decreasing
    label = run.examples["label_name"].iloc[12]
    same = [row for row in (3, 5, 12, 70) if run.examples["label_name"].iloc[row] == label]
    assert sorted(matching(run, selection=(70, 3, 12, 5), classes=[label])["row"]) == same
    assert len(matching(run, selection=(10**6,))) == 0  # of a run that was since written anew


def test_the_list_is_made_once_and_again_after_a_decision(run):
    chosen = Filters("fsi", decisions=[""])
    before = filters.matching(run, chosen)
    assert filters.matching(run, Filters("fsi", decisions=[""])) is before
    run.decisions.record(["train-00003"], "drop")
    assert set(before) - set(filters.matching(run, chosen)) == {3}


def test_decisions_show_at_once(run):
    run.decisions.record(["train-00003"], "relabel", 7)
    row = session.examples(run).set_index("id").loc["train-00003"]
    assert (row["action"], row["new_label_name"]) == ("relabel", "digit 7")
    assert len(matching(run, decisions=["relabel"])) == 1
    assert len(matching(run, decisions=[""])) == len(run.examples) - 1
