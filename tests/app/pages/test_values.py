"""A run whose labels are values: how they are written, filtered, suggested and decided."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from samplescope_app.data import comparison, filters, query, run_library, session
from samplescope_app.panels import decisions, typical
from samplescope_app.panels.verification import truth_unit
from samplescope_app.wording import labels
from tests.support.app_pages import open_page, page_text
from tests.support.tables import TARGET, make_prices, write_table

OFF = dict.fromkeys(("contributions", "sensitivity", "influence", "map"), "off")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("values")
    quick = {"model": "linear", "recipe": Recipe(epochs=30, loss="mse"), **OFF}
    data = str(write_table(make_prices(), root / "prices.csv"))
    score(ScoreConfig(data=data, target=TARGET, out=root / "runs" / "prices", **quick))
    score(ScoreConfig(data=data, target="age", task="regression", out=root / "runs" / "ages", **quick))
    return root / "runs"


@pytest.fixture
def prices(scored: Path) -> Run:
    """The run, served, without decisions."""
    for file in (scored / "prices").glob("decisions.sqlite*"):
        file.unlink()
    st.cache_resource.clear()
    run_library.serve(scored)
    return run_library.open_run("prices")


@pytest.mark.parametrize(
    ("scale", "value", "text"),
    [
        (16.7, 61.894, "61.9"),
        (16.7, 28.0, "28"),
        (0.021, 1.23456, "1.2346"),
        (60_000, 224_512.3, "224500"),
        (1.0, -0.001, "0"),
        (100.0, 1998.0, "1998"),
    ],
)
def test_values_have_enough_digits_to_differ(scale, value, text):
    assert labels.value_text(SimpleNamespace(values=SimpleNamespace(scale=scale)), value) == text


def test_a_tile_says_what_the_model_says_where_that_differs(prices):
    frame = session.examples(prices)
    row = frame.loc[frame["loss"].idxmax()].to_dict()
    label, said = labels.on_tile(prices, row)
    assert (label, said) == (labels.value_text(prices, row["label"]), labels.value_text(prices, row["predicted"]))
    assert label != said
    assert labels.is_far(prices, row)
    assert labels.in_words(prices, row) == f"{TARGET} {label}, predicted {said}"
    same = {**row, "predicted": row["label"] + 1e-6, "residual": 1e-6}
    assert labels.on_tile(prices, same) == (label, "")
    assert not labels.is_far(prices, same)


def test_a_suggestion_is_that_of_the_model_without_the_example_where_there_is_one(prices):
    row = session.examples(prices).iloc[0].to_dict()
    assert labels.suggestion(prices, {**row, "suggested_label": row["label"] + 1e-6}) is None
    assert labels.suggestion(prices, {**row, "suggested_label": row["label"] + 50}) is not None
    before = {name: value for name, value in row.items() if not name.startswith("suggested")}
    assert labels.suggestion(prices, {**before, "predicted": row["label"] + 1e-6}) is None


def test_a_suggestion_is_as_round_as_the_data(prices):
    row = {"label": 60.13, "predicted": 81.23456}
    assert labels.suggestion(prices, row) == float(labels.value_text(prices, 81.23456))
    ages = run_library.open_run("ages")
    assert labels.suggestion(ages, {"label": 30.0, "predicted": 41.7}) == 42  # ages are whole
    assert labels.value_text(ages, 41.7) == "41.7"


def test_values_are_filtered_by_their_ends(prices):
    chosen = filters.View((("fsi", True),), conditions=query.parse("value:150..250", filters.names(prices)))
    found = session.examples(prices).iloc[filters.matching(prices, chosen)]
    inside = prices.examples["label"].between(150, 250)
    assert 0 < inside.sum() < len(prices.examples)
    assert set(found["id"]) == set(prices.examples["id"][inside])


def test_a_new_value_keeps_every_digit(prices):
    one, other = prices.examples["id"].iloc[:2]
    own = prices.examples["label"].iloc[1]
    decisions.decide(prices, f"relabel {0.1 + 0.2!r}", [f"train/{one}"])
    decisions.decide(prices, f"relabel {float(own)!r}", [f"train/{other}"])
    decided = prices.cleaned_labels().set_index("id")
    assert decided.loc[one, "label"] == 0.1 + 0.2
    assert decided.loc[other, "action"] == "keep"  # its own value
    assert session.examples(prices).set_index("id").loc[one, "new_label_name"] == "0.3"


def test_changed_values_are_those_that_differ_by_more_than_rounding(prices):
    wrong = (prices.examples["label"] - prices.examples["original_label"]).abs() > 1
    assert wrong.any()
    assert np.array_equal(labels.changed(prices), wrong)


def test_examples_of_about_a_value_are_near_it_and_predicted_well(prices):
    frame = session.examples(prices)
    off = frame["residual"].abs()
    worst = frame.loc[off.idxmax()]
    near = typical.near(frame, worst["predicted"], worst["id"])
    assert worst["id"] not in set(near["id"])
    assert (off[near.index] <= off.median()).all()
    well = frame[off <= off.median()]
    assert (near["label"] - worst["predicted"]).abs().max() == pytest.approx(
        (well["label"] - worst["predicted"]).abs().nsmallest(len(near)).max()
    )


def test_suspects_are_ranked_by_label_quality_and_without_it_by_the_loss(prices, monkeypatch):
    ranking = labels.suspect_ranking(prices)
    assert (ranking.score, ranking.descending) == ("label_quality", False)
    assert ranking.title == "Most suspicious: lowest label quality"
    without = [name for name in prices.scores if name != "label_quality"]
    monkeypatch.setattr(type(prices), "scores", property(lambda _: without))
    assert labels.suspect_ranking(prices).score == "loss"


def test_runs_with_other_target_columns_are_not_compared(prices):
    ages = run_library.open_run("ages")
    assert set(ages.examples["id"]) & set(prices.examples["id"])
    assert comparison.partners(prices) == []


def test_the_units_of_what_happened_are_those_of_values(prices, run):
    assert truth_unit(prices, "own_probability_change") == "SD"
    assert truth_unit(prices, "own_loss_change") == "half squared error"
    assert truth_unit(run, "own_loss_change") == "nats"


def test_the_overview_speaks_of_values(prices):
    low, high = (labels.value_text(prices, value) for value in prices.examples["label"].agg(["min", "max"]))
    text = page_text(open_page("overview", run="prices")).replace("\\", "")
    assert f"training rows, {TARGET} from {low} to {high}" in text
    assert f"test R² {prices.quality['test']:.1%}" in text
    assert "classes" not in text
