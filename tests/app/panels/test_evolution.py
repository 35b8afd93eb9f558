"""What stands by the scores over training."""

from attribution_core.runs import Run, RunWriter
from samplescope_app.data import run_library
from samplescope_app.panels import evolution
from tests.support.app_pages import open_page, page_text
from tests.support.sample_run import make_run


def test_both_parts_of_the_regularization_stand_by_the_estimate():
    assert evolution._delta_text({"delta": 25.9, "delta_of_objective": 1.0}) == (
        "Regularization (delta): 25.9, which is 1 from the weight decay and 24.9 from the training time: early "
        "stopping acts like weight decay."
    )
    assert evolution._delta_text({"delta": 1.0, "delta_of_objective": 1.0}) == "Regularization (delta): 1."
    assert evolution._delta_text({"delta": 1.0}) == ""  # of a run before both were written


def test_the_page_training_states_both_parts_of_the_regularization(tmp_path):
    run = Run.open(make_run(tmp_path / "run", n=40, evidence=False))
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        writer.describe("sensitivity", {"delta": 25.9, "delta_of_objective": 1.0})
    run_library.serve(tmp_path)
    text = page_text(open_page("training", run="run"))
    assert "(delta): 25.9, which is 1 from the weight decay and 24.9 from the training time" in text
