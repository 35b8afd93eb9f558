"""The table of classes and groups."""

import numpy as np
import pytest
import streamlit as st

from samplescope_app.data import session
from samplescope_app.panels import breakdown


@pytest.mark.parametrize(("kind", "column"), [("class", "label_name"), ("original_label", None)])
def test_every_number_is_that_of_its_row(run, kind, column):
    st.cache_resource.clear()
    run.decisions.record(run.examples["id"].iloc[:7].tolist(), "drop")
    found = breakdown.table(run, kind, run.version, run.decisions.version())
    frame = run.examples
    names = session.examples(run)[column or "original_label"]
    assert found["Training"].tolist() == sorted(found["Training"], reverse=True)
    assert found["Share"].sum() == pytest.approx(1)
    assert found["Decided"].sum() == 7
    for name in found.index:
        members = frame[names == name]
        assert found.loc[name, "Training"] == len(members)
        own = run.measure(run.scores[0]).title_in_sentence
        assert found.loc[name, f"Median {own}"] == pytest.approx(members[run.scores[0]].median())
        assert found.loc[name, "Decided"] == (members.index < 7).sum()
    if column:
        test = run.evaluation[(run.evaluation["split"] == "test") & (run.evaluation["label_name"] == found.index[0])]
        assert found["Accuracy, test"].iloc[0] == pytest.approx(test["correct"].mean())


def test_suspects_are_those_whose_suggested_label_is_another(run):
    st.cache_resource.clear()
    frame = run.examples
    found = breakdown.table(run, "class", run.version, run.decisions.version())
    if "suggested_label" not in frame:
        assert "Suspects" not in found
        return
    expected = (frame["suggested_label"] != frame["label"]).groupby(frame["label_name"]).sum()
    assert np.array_equal(found["Suspects"].sort_index(), expected.sort_index())
