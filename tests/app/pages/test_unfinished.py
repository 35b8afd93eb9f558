"""The pages of a run that has its first scores, while the model is still to be trained."""

from pathlib import Path

import pytest

from attribution_core.runs import Run
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from samplescope_app.data import run_library
from tests.support.app_pages import open_page, page_text
from tests.support.tables import TARGET, make_prices, write_table

PAGES = ("overview", "browse", "review", "classes", "map", "training", "summarize", "trust", "compare")


class StoppedError(Exception):
    pass


def _stop() -> None:
    raise StoppedError


def stopped_at_first_scores(out: Path, **fields: object) -> Run:
    config = ScoreConfig(model="linear", out=out, **fields)  # type: ignore[arg-type]
    with pytest.raises(StoppedError):
        score(config, on_scores=_stop)
    return Run.open(out)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unfinished")
    stopped_at_first_scores(root / "runs" / "classes", data="digits", max_train=80)
    off = dict.fromkeys(("contributions", "sensitivity", "influence", "map"), "off")
    whole = {"max_train": 80, "model": "linear", "recipe": Recipe(epochs=1), **off}
    score(ScoreConfig(data="digits", out=root / "runs" / "whole", **whole))
    data = str(write_table(make_prices(), root / "prices.csv"))
    stopped_at_first_scores(root / "runs" / "values", data=data, target=TARGET)
    run_library.serve(root / "runs")
    return root / "runs"


@pytest.mark.parametrize("name", ["classes", "values"])
def test_the_first_scores_are_there_before_anything_is_trained(root, name):
    run = Run.open(root / name)
    assert "label_quality" in run.scores
    assert run.evaluation["label_quality"].notna().all()
    assert not run.has_predictions
    assert "predicted_name" not in run.influential("label_quality")
    assert run.manifest.stages["training"].status == "pending"


@pytest.mark.parametrize(
    ("name", "page"), [*(("classes", page) for page in PAGES), *(("values", page) for page in PAGES[:3])]
)
def test_every_page_opens(root, name, page):
    open_page(page, run=name)


@pytest.mark.parametrize("name", ["classes", "values"])
def test_an_example_of_each_table_opens(root, name):
    run = Run.open(root / name)
    training = open_page("example", run=name, id=str(run.examples["id"].iloc[3]))
    evaluation = open_page("example", run=name, evaluation="0")
    for app in (training, evaluation):
        shown = " ".join(element.value for element in app.markdown)
        assert "A model without this example" in shown
        assert "Predicted" not in shown


def test_a_comparison_waits_for_the_training(root):
    assert "has not been trained yet" in page_text(open_page("compare", run="classes", other="whole"))


def test_browse_begins_at_the_suspicious_end_of_the_score(root):
    app = open_page("browse", run="whole")
    score, order = (next(box for box in app.selectbox if box.label == label) for label in ("Sort by", "Order"))
    assert (score.value, order.value) == ("label_quality", False)  # the lowest first
    score.set_value("fsi").run()
    assert next(box for box in app.selectbox if box.label == "Order").value is True
