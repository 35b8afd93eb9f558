"""Every example of a dataset is judged, and decisions about validation and test examples are carried out."""

from pathlib import Path

import numpy as np
import pytest

from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from attribution_core.runs import Run
from attribution_core.runs.cleaned import applied_decisions
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from attribution_core.workflows.verify import verify
from tests.support.tables import make_table, write_table

OFF = dict.fromkeys(("contributions", "sensitivity", "influence", "map"), "off")
JUDGED = ["label_quality", "suggested_label", "suggested_name", "suggested_confidence"]


def scored(folder: Path, **options) -> Run:
    """Score a table whose splits have the same ids."""
    splits = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    table = make_table(60).assign(split=splits, id=[*range(40), *range(10), *range(10)])
    data = str(write_table(table, folder / "d.csv"))
    return score(ScoreConfig(data=data, out=folder / "run", model="linear", recipe=Recipe(epochs=1), **OFF, **options))


def label_of(run: Run, split: str, example_id: str) -> str:
    table = run.evaluation[run.evaluation["split"] == split].set_index("id")
    return table.loc[example_id, "label_name"]


@pytest.fixture
def reviewed(tmp_path) -> Run:
    run = scored(tmp_path)
    assert len(run.evaluation) == 20
    for table in (run.examples, run.evaluation):
        assert np.isfinite(table["label_quality"]).all()
        assert table[JUDGED].notna().all(axis=None)
    run.decisions.record(["3"], "relabel", 1 - _given(run), "test")
    run.decisions.record(["4"], "drop", split="test")
    run.decisions.record(["5"], "drop", split="validation")
    return run


def _given(run: Run) -> int:
    return int(run.evaluation.query("split == 'test' and id == '3'")["label"].iloc[0])


def test_every_example_is_judged_and_a_relabeled_test_example_is_exported(reviewed, tmp_path):
    before = open_dataset(tmp_path / "d.csv")
    after = open_dataset(export_run(reviewed, "same", tmp_path / "clean.csv").path)
    assert after.train.ids == before.train.ids
    assert (after.train.labels == before.train.labels).all()
    assert after.validation.ids == [id_ for id_ in before.validation.ids if id_ != "5"]
    assert after.test.ids == [id_ for id_ in before.test.ids if id_ != "4"]
    then, now = (dict(zip(each.test.ids, each.test.labels.tolist(), strict=True)) for each in (before, after))
    assert [id_ for id_ in now if now[id_] != then[id_]] == ["3"]


def test_retraining_applies_the_decisions_about_every_split(reviewed, tmp_path, capsys):
    assert main(["clean", str(reviewed.path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "40 training examples kept (0 relabeled), 0 dropped; 9 validation examples kept (0 relabeled), 1 dropped"
        in printed
    )
    assert "9 test examples kept (1 relabeled), 1 dropped. The accuracy on the same 8 test examples" in printed
    child = Run.open(tmp_path / "run-cleaned")
    assert child.examples["id"].tolist() == reviewed.examples["id"].tolist()
    assert child.evaluation["split"].value_counts().to_dict() == {"validation": 9, "test": 9}
    assert label_of(child, "test", "3") != label_of(reviewed, "test", "3")
    assert np.isfinite(child.evaluation["label_quality"]).all()
    unchanged = reviewed.evaluation.set_index(["split", "id"])["loss"].drop([("test", "3")])
    same = child.evaluation.set_index(["split", "id"])["loss"].drop([("test", "3")])
    np.testing.assert_allclose(same, unchanged.reindex(same.index), rtol=1e-4)  # of the same training
    assert applied_decisions(child)["split"].tolist() == ["test", "test", "validation"]
    assert verify(child.path, examples=3, halves=0, seeds=1).methods["fsi"].single.examples == 3

    child.decisions.record(["3"], "drop", split="test")
    summary = export_run(child, "same", tmp_path / "clean.csv")
    assert summary.counts["test"] == {"kept": 8, "dropped": 2, "relabelled": 0}
    assert summary.counts["validation"] == {"kept": 9, "dropped": 1, "relabelled": 0}
    assert open_dataset(summary.path).test.ids == [id_ for id_ in map(str, range(10)) if id_ not in ("3", "4")]


def test_a_split_keeps_at_least_one_example(reviewed):
    reviewed.decisions.record([str(i) for i in range(10)], "drop", split="validation")
    with pytest.raises(InputError, match="drop every validation example"):
        clean(reviewed.path)


def test_only_training_examples_are_judged_if_so_asked(tmp_path):
    run = scored(tmp_path, score="train")
    assert np.isfinite(run.examples["label_quality"]).all()
    assert not set(JUDGED) & set(run.evaluation.columns)
