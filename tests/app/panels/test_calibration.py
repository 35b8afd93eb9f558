"""Trust shows how often label quality is right when it states a probability, by split, and which model states it."""

import numpy as np
import pandas as pd

from attribution_core.runs import Run, RunWriter
from samplescope_app.data import run_library
from samplescope_app.figures import reliability
from tests.support.app_pages import open_page, page_text
from tests.support.sample_run import make_run

POOL = "linear kernel of pixels + ntk kernel of features"


def with_label_quality(run: Run) -> None:
    """Add columns of label quality: suggestions stated with 75%, of which all are the given labels."""
    losses = {"linear kernel of pixels": 0.5, "ntk kernel of features": 0.4654, POOL: 0.4321}
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        for name, table in (("examples", run.examples), ("evaluation", run.evaluation)):
            constant = np.full(len(table), 0.75)
            columns = {"label_quality": constant, "suggested_confidence": constant}
            writer.add_columns(
                name, {**columns, "suggested_label": table["label"], "suggested_name": table["label_name"]}
            )
        shares = dict(zip(POOL.split(" + "), (0.26, 0.74), strict=True))
        details = {"chosen": POOL, "shares": shares, "loss": 0.44, "candidates": losses}
        writer.describe("label_quality", details, ["label_quality"])


def test_the_page_states_the_calibration_of_each_split_and_the_candidates(tmp_path):
    run = Run.open(make_run(tmp_path / "run", n=40, evidence=False))
    with_label_quality(run)
    run_library.serve(tmp_path)
    page = open_page("trust", run="run")
    said = page_text(page) + " ".join(each.value for each in page.markdown)
    assert "Training: stated probabilities are off by **25.0 points** on average" in said
    assert "Validation and test: stated probabilities" in said
    assert "Training, true labels: stated probabilities" in said
    escaped = POOL.replace("+", "\\+")  # in Markdown
    assert f"Judged by **{escaped}** (weights 26%, 74%), whose held-out loss is 0.440 nats" in said
    assert "linear kernel of pixels 0.500" in said
    numbers = next(each.value for each in page.dataframe if "Training" in each.value.columns)
    assert numbers.loc["70% to 80%", "Training"] == "100% of 40"


def test_a_run_without_label_quality_says_so(tmp_path):
    make_run(tmp_path / "run", n=40, evidence=False)
    run_library.serve(tmp_path)
    assert "No label quality: this run did not compute it" in page_text(open_page("trust", run="run"))


def test_the_diagram_has_a_line_for_each_series_and_larger_markers_for_more_examples():
    points = pd.DataFrame(
        {"series": ["a", "a", "b"], "stated": [0.2, 0.8, 0.5], "observed": [0.3, 0.7, 0.5], "count": [1, 100, 4]}
    )
    figure = reliability(points, "stated", "observed")
    assert [trace.name for trace in figure.data] == ["as stated", "a", "b"]
    sizes = figure.data[1].marker.size
    assert sizes[0] < sizes[1]
    assert figure.layout.xaxis.title.text == "stated"
