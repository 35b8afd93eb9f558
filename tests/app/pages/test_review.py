"""Review without a browser: examples of every split in one queue, and decisions about each by its split."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from samplescope_app.components.gallery import example_tile
from samplescope_app.data import run_library, session
from samplescope_app.wording import labels
from tests.support.app_pages import open_page, score_rows
from tests.support.sample_run import make_run
from tests.support.scored import ONLY_INFORMATION
from tests.support.tables import make_table, write_table

TEST, VALIDATION = 1, 0  # rows of the most suspicious examples of both splits
TRAIN = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose training and evaluation examples have the same ids."""
    folder = tmp_path_factory.mktemp("judged")
    run = Run.open(make_run(folder / "judged", n=80, ids=[f"other-{i:05d}" for i in range(80)], evidence=False))
    qualities = {"examples": np.linspace(0.5, 0.9, 80), "evaluation": np.linspace(0.5, 0.9, 40)}
    qualities["examples"][TRAIN] = 0.02
    qualities["evaluation"][[run.evaluation["split"].eq("test").to_numpy().nonzero()[0][TEST], VALIDATION]] = 0.01, 0.03
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        for table, frame in (("examples", run.examples), ("evaluation", run.evaluation)):
            suggested = (frame["label"].to_numpy() + 1) % 10
            columns = {"suggested_label": suggested, "suggested_name": np.array(run.class_names)[suggested]}
            columns |= {"label_quality": qualities[table], "suggested_confidence": np.full(len(frame), 0.9)}
            writer.add_columns(table, columns)
        writer.describe("label_quality", {}, ["label_quality"])
    return folder


@pytest.fixture
def judged(served: Path) -> Run:
    for file in (served / "judged").glob("decisions.sqlite*"):
        file.unlink()
    st.cache_resource.clear()
    run_library.serve(served)
    return run_library.open_run("judged")


def decided(run: Run) -> list[tuple[str, str, str]]:
    current = run.decisions.current()
    return list(zip(current["split"], current["id"], current["action"], strict=True))


def texts(app: AppTest) -> str:
    return " ".join(element.value for element in app.markdown)


def test_the_queue_has_the_suspects_of_all_splits(judged):
    order = session.everything(judged).sort_values("label_quality", kind="stable").head(3)
    assert order["split"].tolist() == ["test", "train", "validation"]
    ids = order["id"].tolist()
    app = open_page("review", run="judged")
    for example_id, split in zip(ids, ("test", "training", "validation"), strict=True):
        assert f"{split} example" in texts(app)
        assert example_id.replace("-", "\\-") in texts(app)
        app.button(key="review drop").click().run()
    assert decided(judged) == [(split, id_, "drop") for split, id_ in zip(order["split"], ids, strict=True)]
    log = app.dataframe[0].value
    assert log["split"].tolist() == ["validation", "train", "test"]
    assert "Of 80 training examples, **79 are kept**" in texts(app)
    assert "Of 20 test examples, **19 are kept**" in texts(app)
    app.button(key="review undo").click().run()
    assert [split for split, _, _ in decided(judged)] == ["test", "train"]


def test_a_decision_is_about_the_example_of_its_split(judged):
    """The most suspicious example of the test set is called as a training example that nobody decided about."""
    app = open_page("review", run="judged")
    app.button(key="review relabel " + repr(_suggested(judged))).click().run()
    ((split, example_id, action),) = decided(judged)
    assert (split, action) == ("test", "relabel")
    assert example_id in set(judged.examples["id"])
    assert (session.examples(judged)["action"] == "").all()
    assert (
        judged.cleaned_labels("evaluation").set_index(["split", "id"]).loc[(split, example_id), "action"] == "relabel"
    )


def _suggested(run: Run) -> int:
    return int(run.evaluation.sort_values("label_quality")["suggested_label"].iloc[0])


def test_one_split_can_be_reviewed_alone(judged):
    app = open_page("review", run="judged")
    for split, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        app.selectbox(key="review split label_quality").set_value(split).run()
        assert not app.exception
        assert f"{name} example" in texts(app)
    assert app.number_input(key="review length").max == 20


def test_a_score_of_training_examples_ranks_only_those(judged):
    app = open_page("review", run="judged")
    app.selectbox(key="review score").set_value("fsi").run()
    assert len(app.selectbox(key="review training only").options) == 1
    assert "training example" in texts(app)
    app.selectbox(key="review score").set_value("loss").run()  # of every split, but not by the same model
    assert app.selectbox(key="review split loss").value == "train"


def test_the_page_of_a_test_example_decides_about_it(judged):
    app = open_page("example", run="judged", evaluation="1")
    row = session.evaluation(judged).iloc[1]
    assert f"{row['split']} example" in texts(app)
    assert any("Label quality" in row for row in score_rows(app))
    assert any(">Loss<" in row for row in score_rows(app))
    assert not any("Training loss" in row for row in score_rows(app))  # which this is not
    app.button(key="example drop").click().run()
    assert decided(judged) == [(row["split"], row["id"], "drop")]
    assert "dropped" in texts(app)
    app.button(key="example undo").click().run()
    assert decided(judged) == []


def test_tiles_say_the_split(judged):
    row = session.evaluation(judged).iloc[1].to_dict()
    tile = example_tile(judged, row, "label_quality")
    assert tile.alt.startswith(f"#1 of {row['split']}, labeled ")
    assert (tile.id, tile.split) == (f"{row['split']}/{row['id']}", row["split"])
    tile = example_tile(judged, session.examples(judged).iloc[1].to_dict(), "label_quality")
    assert tile.alt.startswith("#1, labeled ")
    assert (tile.id, tile.split) == ("train/other-00001", "")
    assert example_tile(judged, row, "fsi").score == "–"


def test_percentiles_are_among_the_split(judged):
    frame = session.evaluation(judged)
    of_test = frame[frame["split"] == "test"]
    assert of_test["label_quality percentile"].min() == pytest.approx(100 / len(of_test))


def test_an_example_that_nobody_judged_gets_the_prediction_as_suggestion(judged):
    row = session.evaluation(judged).iloc[1].to_dict()
    assert labels.suggestion(judged, row) == row["suggested_label"]
    other = (row["label"] + 2) % 10
    assert labels.suggestion(judged, {**row, "suggested_label": np.nan, "predicted": other}) == other
    without = {name: value for name, value in row.items() if name not in ("suggested_label", "predicted")}
    assert labels.suggestion(judged, without) is None


def test_classes_that_are_true_and_false_are_reviewed(tmp_path):
    table = make_table()
    table["label"] = table["original_label"] = table["label"] == "high"
    data = str(write_table(table, tmp_path / "flats.csv"))
    options = {"model": "linear", "recipe": Recipe(epochs=2), "map": "off", **ONLY_INFORMATION}
    score(ScoreConfig(data=data, out=tmp_path / "runs" / "flats", **options))
    run_library.serve(tmp_path / "runs")
    run = run_library.open_run("flats")
    assert run.class_names == ["False", "True"]
    app = open_page("review", run="flats")
    (label,) = re.findall(r"Label \*\*(False|True)\*\*", texts(app))
    new = run.class_names.index("True" if label == "False" else "False")
    app.button(key=f"review as {new}").click().run()
    assert not app.exception
    ((split, example_id, action),) = decided(run)
    examples = run.examples if split == "train" else run.evaluation
    assert examples.set_index("id").loc[example_id, "label_name"] == label
    assert action == "relabel"


def test_an_export_is_no_longer_announced_once_more_is_decided(judged):
    app = open_page("review", run="judged")
    next(button for button in app.button if button.label == "Export").click().run(timeout=60)
    assert any(each.value.startswith("Saved in") for each in app.success)
    app.button(key="review drop").click().run()
    assert not any(each.value.startswith("Saved in") for each in app.success)
    assert any("You have decided more since" in each.value for each in app.caption)
    next(button for button in app.button if button.label == "Export").click().run(timeout=60)
    assert any(each.value.startswith("Saved in") for each in app.success)
