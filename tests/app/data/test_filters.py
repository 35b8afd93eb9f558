"""The filters and the order of Browse."""

import base64
import zlib

import numpy as np
import pytest
import streamlit as st

from attribution_core.errors import InputError
from samplescope_app.data import filters, query, session
from samplescope_app.data.filters import View


@pytest.fixture(autouse=True)
def _no_cache():
    """Clear the cache: the new decision log of each test has the version of the previous test's."""
    st.cache_resource.clear()


def view(run, where="", order=(("fsi", True),), **named):
    return View(order, conditions=query.parse(where, filters.names(run)), **named)


def matching(run, where="", **named):
    return session.everything(run).iloc[filters.matching(run, view(run, where, **named))]


def test_filters_narrow_and_sort(run):
    every = matching(run)
    assert len(every) == len(run.examples)
    assert every["fsi"].is_monotonic_decreasing
    assert matching(run, order=(("fsi", False),))["fsi"].is_monotonic_increasing
    some = matching(run, 'class:"digit 3" prediction:wrong')
    assert set(some["label_name"]) <= {"digit 3"}
    assert not some["correct"].any()
    low, high = np.quantile(run.examples["fsi"], [0.2, 0.4]).tolist()
    between = matching(run, f"fsi:{low!r}..{high!r}")
    assert len(between) == run.examples["fsi"].between(low, high).sum() > 0
    assert between["fsi"].between(low, high).all()
    assert len(matching(run, "TRAIN-0001")) == 10
    assert len(matching(run, '"("')) == 0
    grouped = matching(run, 'original_label:"digit 1"')
    assert set(grouped["original_label"]) == {"digit 1"}


def test_conditions_about_several_scores_hold_together(run):
    frame = run.examples
    loss, fsi = float(frame["loss"].median()), float(frame["fsi"].median())
    found = matching(run, f'loss>{loss!r} fsi<{fsi!r} -class:"digit 1"')
    expected = frame[(frame["loss"] > loss) & (frame["fsi"] < fsi) & (frame["label_name"] != "digit 1")]
    assert set(found["id"]) == set(expected["id"])
    assert len(expected)
    assert len(matching(run, "fsi%>90")) == 8  # a tenth of 80


def test_the_second_name_sorts_what_the_first_leaves_equal(run):
    found = matching(run, order=(("class", False), ("loss", True)))
    assert found["label_name"].is_monotonic_increasing
    for _, members in found.groupby("label_name"):
        assert members["loss"].is_monotonic_decreasing


def test_missing_scores_come_last_and_meet_no_bound(run):
    everything = matching(run, split=filters.ALL, order=(("fsi", True),))
    assert everything["fsi"].isna().to_numpy()[len(run.examples) :].all()
    assert everything["fsi"].notna().to_numpy()[: len(run.examples)].all()
    assert set(matching(run, "fsi>=0", split=filters.ALL)["split"]) == {"train"}


def test_examples_of_another_split_pass_the_same_filters(run):
    everything, n = session.everything(run), len(run.examples)
    for split in ("validation", "test"):
        found = filters.matching(run, View((("loss", False),), split=split))
        listed = everything.iloc[found]
        assert set(listed["split"]) == {split}
        assert sorted(found - n) == np.flatnonzero(run.evaluation["split"] == split).tolist()
        assert listed["loss"].is_monotonic_increasing
    some = matching(run, "prediction:wrong", order=(("loss", True),), split="test")
    test = run.evaluation[run.evaluation["split"] == "test"]
    assert set(some["id"]) == set(test.loc[~test["correct"], "id"])
    run.decisions.record([test["id"].iloc[4]], "drop", split="test")
    dropped = matching(run, "decision:dropped", order=(("loss", True),), split="test")
    assert dropped["id"].tolist() == [test["id"].iloc[4]]


def test_a_split_without_the_score_is_not_listed(run):
    assert filters.splits(run, view(run, order=(("loss", True),))) == ["train", "validation", "test", filters.ALL]
    assert filters.splits(run, view(run)) == ["train"]


def test_a_selection_is_a_filter_among_others(run):
    chosen = matching(run, rows=(70, 3, 12, 5))
    assert set(chosen["row"]) == {3, 5, 12, 70}
    assert chosen["fsi"].is_monotonic_decreasing
    label = run.examples["label_name"].iloc[12]
    same = [row for row in (3, 5, 12, 70) if run.examples["label_name"].iloc[row] == label]
    assert sorted(matching(run, f'class:"{label}"', rows=(70, 3, 12, 5))["row"]) == same
    assert len(matching(run, rows=(10**6,))) == 0  # of a run that was since written anew
    assert len(matching(run, rows=())) == 0


def test_the_list_is_made_once_and_again_after_a_decision(run):
    chosen = view(run, "decision:undecided")
    before = filters.matching(run, chosen)
    assert filters.matching(run, view(run, "decision:undecided")) is before
    run.decisions.record(["train-00003"], "drop")
    assert set(before) - set(filters.matching(run, chosen)) == {3}


def test_decisions_show_at_once(run):
    run.decisions.record(["train-00003"], "relabel", 7)
    row = session.examples(run).set_index("id").loc["train-00003"]
    assert (row["action"], row["new_label_name"]) == ("relabel", "digit 7")
    assert len(matching(run, "decision:relabeled")) == 1
    assert len(matching(run, "decision:undecided")) == len(run.examples) - 1


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("", {}),
        ('class:"digit 3","digit 1" confidence>0.9 fsi%>=95 -decision:dropped,kept 0001 -"a \\"b\\", c:d"', {}),
        ("loss>=1e-05 loss<0.30000000000000004", {"split": "test", "order": (("loss", False), ("class", True))}),
        ("", {"split": filters.ALL, "order": (("margin", True),)}),
        ("prediction:right", {"rows": (0, 3, 79)}),
        ("", {"rows": tuple(range(80))}),
        ("", {"rows": ()}),
    ],
)
def test_an_address_shows_the_same_view(run, where, named):
    chosen = view(run, where, **named)
    assert filters.from_address(run, filters.address(run, chosen)) == chosen


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"where": "depth>3"}, "no depth to filter by"),
        ({"where": "class:zebra"}, "No class is called zebra"),
        ({"where": "class>1"}, "class is no number"),
        ({"where": "confidence:1"}, "confidence is a number"),
        ({"where": "confidence>nan"}, "nan is no number"),
        ({"where": "-confidence>1"}, "turn the comparison around"),
        ({"sort": "depth"}, "no depth to sort by"),
        ({"sort": "-fsi", "split": "test"}, "No split called test can be sorted by fsi"),
        ({"rows": "AAAA"}, "damaged or of another run"),
        ({"rows": "é"}, "damaged or of another run"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_is_refused(run, asked, said):
    with pytest.raises(InputError, match=said):
        filters.from_address(run, asked)


def test_a_selection_that_would_expand_to_very_much_is_refused_early(run):
    bomb = base64.urlsafe_b64encode(zlib.compress(b"\xff" * 10**8, 9)).decode()
    with pytest.raises(InputError, match="damaged or of another run"):
        filters.from_address(run, {"rows": bomb})


def test_a_selection_of_very_many_rows_is_short_enough_for_an_address(run, monkeypatch):
    rows = tuple(np.flatnonzero(np.random.default_rng(0).random(50_000) < 0.5).tolist())
    assert len(filters._packed(rows, 50_000)) < filters._LONGEST_ROWS
    monkeypatch.setattr(filters, "_LONGEST_ROWS", 5)
    assert "rows" not in filters.address(run, view(run, rows=(1, 2, 3)))
