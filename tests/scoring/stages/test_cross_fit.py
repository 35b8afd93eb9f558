"""Label quality is that of the cross-fitted model of the run where its held-out predictions are the better ones."""

import numpy as np
import pytest
import torch
from torch import nn

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.preparation.prepare import prepare
from attribution_core.progress import Cancelled, listening
from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages import STAGES, ScoringRun
from attribution_core.training import Recipe
from tests.support.scored import ONLY_INFORMATION
from tests.support.tables import TARGET, make_prices, make_table, write_table

STAGE = next(stage for stage in STAGES if stage.name == "cross_fit")
COLUMNS = ["label_quality", "suggested_label"]


def config(path, frame, **options) -> ac.ScoreConfig:
    data = str(write_table(frame, path / "data.csv"))
    given = {"data": data, "out": path / "run", "map": "off", "recipe": Recipe(epochs=1), "cross_fit": 2}
    return ac.ScoreConfig(**{**given, **ONLY_INFORMATION, **options})


def write_again_over_a_worse_candidate(run: Run, prepared) -> Run:
    """Run the stage again, as if no other candidate were any good."""
    before = run.manifest.details["label_quality"]
    plain, fingerprint = run.manifest.config, run.manifest.fingerprint
    with RunWriter.start(run.path, plain, fingerprint, run.title) as writer:
        writer.describe("label_quality", {**before, "loss": 99.0})
        STAGE.write(ScoringRun(writer, prepared, {}))
    return Run.open(run.path)


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 2))


def test_a_module_of_a_program_competes_and_can_be_chosen(tmp_path):
    given = config(tmp_path, make_table(), training="fine-tune")
    run = ac.score(given, model=module())
    earlier = run.examples["label_quality"], run.evaluation["label_quality"]
    assert run.status == "complete"
    details = run.manifest.details["label_quality"]
    title = "python:Sequential, 2 folds"
    kernels = {f"{kernel} kernel of columns" for kernel in ("linear", "ntk", "laplace")}
    assert set(details["candidates"]) == {*kernels, title}
    loss = run.manifest.details["cross_fit"]["loss"]
    assert details["candidates"][title] == loss
    assert details["loss"] == min(details["candidates"].values()) < loss  # one epoch is less than ridge regression
    assert details["chosen"] != title
    assert not any("weights given" in note for note in run.manifest.dataset.notes)

    after = write_again_over_a_worse_candidate(run, prepare(given, module()))
    details = after.manifest.details["label_quality"]
    assert (details["chosen"], details["loss"]) == (title, pytest.approx(loss))
    assert details["route"] == "held-out predictions of python:Sequential, trained 2 times"
    for table, before in zip((after.examples, after.evaluation), earlier, strict=True):
        assert not np.allclose(table["label_quality"], before)
        assert table["label_quality"].between(0, 1).all()
        assert (table["suggested_confidence"] >= table["label_quality"] - 1e-9).all()
        assert (table["suggested_name"] == np.array(run.class_names)[table["suggested_label"]]).all()
    assert -np.log(after.examples["label_quality"]).mean() == pytest.approx(loss)
    assert any("honest only if these weights were not trained" in note for note in after.manifest.dataset.notes)


def test_values_are_judged_in_their_unit(tmp_path):
    given = config(tmp_path, make_prices(), target=TARGET, model="linear", recipe=Recipe(epochs=30))
    run = ac.score(given)
    assert "linear, 2 folds" in run.manifest.details["label_quality"]["candidates"]
    run = write_again_over_a_worse_candidate(run, prepare(given))
    assert run.manifest.details["label_quality"]["chosen"] == "linear, 2 folds"
    examples = run.examples
    assert np.corrcoef(examples["suggested_label"], examples["original_label"])[0, 1] > 0.5
    wrong = np.abs(examples["label"] - examples["original_label"]) > 1
    assert examples["label_quality"][wrong].max() < examples["label_quality"][~wrong].median()
    assert not any("weights given" in note for note in run.manifest.dataset.notes)  # it was trained from scratch


def test_a_run_that_was_stopped_within_resumes_to_the_same(tmp_path):
    given = config(tmp_path, make_table(), model="linear")

    def stop(_done: int, _total: int, what: str) -> None:
        if what.startswith("cross-fitting, 2 of 2"):
            raise Cancelled

    with listening(stop), pytest.raises(Cancelled):
        ac.score(given)
    stopped = Run.open(given.out)
    assert stopped.manifest.stages["cross_fit"].status == "failed"
    assert len(stopped.manifest.details["label_quality"]["candidates"]) == 3
    run = ac.score(given)
    assert run.status == "complete"
    assert len(run.manifest.details["label_quality"]["candidates"]) == 4
    again = ac.score(given.model_copy(update={"out": tmp_path / "other"}))
    assert np.allclose(run.examples[COLUMNS], again.examples[COLUMNS], atol=1e-6)


def test_its_trainings_are_estimated_and_nothing_is_without_it(tmp_path):
    with_folds, without = (config(tmp_path, make_table(), cross_fit=count) for count in (20, 0))
    assert with_folds.cross_fit == 20
    with pytest.raises(InputError, match="needs at least 40 training examples, but there are 28: use fewer folds"):
        estimate(with_folds)
    five = config(tmp_path, make_table(), cross_fit=5, recipe=Recipe(epochs=200))
    found = estimate(five)
    assert found.seconds["cross_fit"] == pytest.approx(5 * found.seconds["training"], rel=0.8)
    assert STAGE.bytes_needed(RunSizes(prepare(five))) > 0
    assert "cross_fit" not in estimate(without).seconds
    assert STAGE.bytes_needed(RunSizes(prepare(without))) == 0
    assert not STAGE.is_wanted(without)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cross-fit", "1"], "Cross-fitting needs 2 to 20 folds, or 0 for none, but '1' was given"),
        (["--cross-fit", "21"], "less than or equal to 20"),
        (["--cross-fit", "2", "--epochs", "0"], "this run does not train it"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(tmp_path, options, sentence, capsys):
    data = write_table(make_table(), tmp_path / "data.csv")
    assert main(["score", str(data), "--out", str(tmp_path / "run"), *options]) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_scored_as_given_cannot_be_cross_fitted(tmp_path):
    with pytest.raises(InputError, match="this run does not train it: use --training fine-tune or scratch"):
        ac.score(config(tmp_path, make_table()), model=module())


def test_a_fold_that_leaves_a_last_batch_of_one_is_tried(tmp_path):
    """Batch normalization cannot be trained on one example: 28 examples in two folds leave 14."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    given = config(tmp_path, make_table(), training="fine-tune", recipe=Recipe(epochs=1, batch_size=13))
    with pytest.raises(InputError, match=r"cannot be trained on a batch of 1.*choose another --batch-size"):
        ac.score(given, model=network)
