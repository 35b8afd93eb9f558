"""Issues of the data, which are found where they were planted and nowhere else."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import IMAGE_STATISTICS_FILE
from attribution_core.runs.tables import LEAKS
from samplescope_app.data import filters, health, query, session
from samplescope_app.data.filters import View
from tests.support import planted


@pytest.fixture(autouse=True)
def _no_cache():
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return planted.make_images_run(tmp_path_factory.mktemp("planted") / "run")


def rows(run, name):
    return np.flatnonzero(health.of(run).issues[name]).tolist()


def listed(run, name, order):
    """Return what a link to the examples with an issue lists, as Browse would by its address."""
    view = View(((order, False),), split="all", conditions=(query.AnyOf("issue", (name,)),))
    assert filters.from_address(run, filters.address(run, view)) == view
    return filters.matching(run, view).tolist()


def test_what_was_planted_is_found_and_nothing_else(path):
    run, leak = Run.open(path), planted.TRAIN + planted.LEAK
    assert rows(run, "dark") == [planted.DARK]
    assert rows(run, "blurred") == [planted.BLURRED]
    assert rows(run, "odd-size") == [planted.WIDE]
    assert rows(run, "identical") == [*planted.TWINS, planted.LEAKED, leak]
    assert rows(run, "leak") == [planted.LEAKED, leak]
    assert rows(run, "bright") == []
    assert rows(run, "low-contrast") == [planted.DARK]  # what is nearly black has no contrast either
    assert listed(run, "identical", "copies") == [*planted.TWINS, planted.LEAKED, leak]
    assert listed(run, "dark", "brightness") == [planted.DARK]
    frame = session.everything(run)
    assert frame["brightness"].idxmin() == planted.DARK
    assert frame[health.ISSUES].iloc[leak] == ("identical", "leak")
    assert frame[health.COPIES].notna().sum() == 4


def test_clean_images_have_next_to_no_issues(tmp_path):
    issues = health.of(Run.open(planted.make_images_run(tmp_path / "clean", planted=False))).issues
    for name in ("dark", "bright", "low-contrast", "blurred", "odd-size", "identical", "leak"):
        assert issues[name].sum() <= 1, name


def test_a_run_of_an_earlier_version_opens_without_statistics(tmp_path):
    path = planted.make_images_run(tmp_path / "old")
    (path / IMAGE_STATISTICS_FILE).unlink()
    run = Run.open(path)
    assert not {"dark", "identical"} & health.of(run).issues.keys()
    assert rows(run, "leak") == []
    assert "brightness" not in filters.names(run).numbers
    assert len(session.everything(run)) == planted.TRAIN + planted.HELD_OUT


def test_near_duplicates_across_splits_stand_beside_each_other(tmp_path):
    path = planted.make_images_run(tmp_path / "run", planted=False)
    LEAKS.replace(path, "test", pd.DataFrame({"row": [60, 70], "train_row": [9, 5], "similarity": 0.99}))
    run = Run.open(path)
    first, second = planted.TRAIN + 60, planted.TRAIN + 70
    assert rows(run, "leak") == [5, 9, first, second]
    assert listed(run, "leak", "copies") == [5, second, 9, first]


def test_an_example_far_from_all_others_is_an_outlier(tmp_path):
    path = planted.make_images_run(tmp_path / "run", planted=False)
    similarity = 1 - np.random.default_rng(0).uniform(0.01, 0.02, planted.TRAIN)
    similarity[77] = 0.2
    run = Run.open(path)
    with RunWriter.start(path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        writer.add_column("examples", "nearest_similarity", similarity)
        writer.describe("nearest_similarity", {}, ["nearest_similarity"])
    assert rows(Run.open(path), "outlier") == [77]


def test_labels_that_are_more_likely_wrong_than_right_are_counted(tmp_path):
    path = planted.make_images_run(tmp_path / "run", planted=False)
    run, wrong = Run.open(path), np.arange(0, planted.TRAIN, 10)
    quality = np.full(planted.TRAIN, 0.95)
    quality[wrong] = 0.001
    with RunWriter.start(path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        writer.add_column("examples", "label_quality", quality)
        writer.remove_column("evaluation", "label_quality")
    found = health.of(Run.open(path))
    assert np.flatnonzero(found.issues["mislabeled"]).tolist() == wrong.tolist()
    assert found.expected == pytest.approx(len(wrong), rel=0.1)
