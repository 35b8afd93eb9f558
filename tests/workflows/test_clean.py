"""Test retraining on a cleaned dataset: what changes, what stays, and that both runs share their test images."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset, with_decisions
from attribution_core.errors import InputError
from attribution_core.evaluation.comparison import paired_accuracies, rank_correlation, rank_correlations
from attribution_core.export.export import export_run
from attribution_core.runs import Run
from attribution_core.runs.cleaned import cleaned_folder
from attribution_core.scoring.score import score
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from attribution_core.workflows.verify import verify
from tests.support.processes import kill_at
from tests.support.sample_run import make_data
from tests.support.scored import copy_to_change, quick

LEAN = {
    "recipe": Recipe(epochs=2, learning_rate=0.2, batch_size=32),
    "influence": "off",
    "sensitivity": "off",
    "contributions": "off",
    "map": "off",
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cleaned")
    return score(quick(folder, data=str(make_data(folder / "data.parquet", 160)), **LEAN))


@pytest.fixture
def reviewed(scored, tmp_path):
    """Copy the run, drop three examples, keep one and relabel one."""
    run = copy_to_change(scored, tmp_path)
    ids = run.examples["id"].tolist()
    run.decisions.record(ids[:3], "drop")
    run.decisions.record([ids[3]], "keep")
    run.decisions.record([ids[5]], "relabel", _next(run.examples["label"][5]))
    return run


def _next(label) -> int:
    return (int(label) + 1) % 10


def test_exactly_the_decisions_are_applied(reviewed):
    child = clean(reviewed.path)
    assert child.path == reviewed.path.with_name("run-cleaned")
    before, after = reviewed.examples, child.examples
    assert after["id"].tolist() == before["id"].tolist()[3:]
    groups = ["id", "original_label"]
    pd.testing.assert_frame_equal(after[groups], before[groups].iloc[3:].reset_index(drop=True))
    assert (after["label"].to_numpy() != before["label"].to_numpy()[3:]).nonzero()[0].tolist() == [2]
    assert after["label"][2] == _next(before["label"][5])
    assert after["label_name"][2] == child.class_names[after["label"][2]]
    for column in ("id", "label", "split"):
        assert child.evaluation[column].tolist() == reviewed.evaluation[column].tolist()
    for row in (0, 79):
        assert child.thumbnail("evaluation", row) == reviewed.thumbnail("evaluation", row)
    assert child.thumbnail("train", 0) == reviewed.thumbnail("train", 3)
    assert child.manifest.details["cleaning"] == {
        "parent": "run",
        "parent_title": reviewed.title,
        "parent_metrics": reviewed.manifest.metrics,
        "dropped": 3,
        "relabelled": 1,
        "kept": 157,
        "evaluation": {split: {"dropped": 0, "relabelled": 0, "kept": 40} for split in ("validation", "test")},
    }
    assert child.status == "complete"
    assert child.title.endswith(", cleaned")
    assert any("3 training examples were dropped and 1 relabelled" in note for note in child.manifest.dataset.notes)
    assert child.manifest.dataset.fingerprint != reviewed.manifest.dataset.fingerprint


def test_the_same_decisions_give_the_same_run_and_others_another(reviewed):
    first = clean(reviewed.path)
    started = first.manifest.stages["training"].started
    assert clean(reviewed.path).path == first.path
    assert Run.open(first.path).manifest.stages["training"].started == started
    reviewed.decisions.record([reviewed.examples["id"][8]], "drop")
    assert cleaned_folder(reviewed) == reviewed.path.with_name("run-cleaned-2")
    with pytest.raises(InputError, match="holds a run of another configuration"):
        clean(reviewed.path, first.path)
    reviewed.decisions.undo()
    assert cleaned_folder(reviewed) == first.path


def test_a_cleaned_run_does_not_need_its_parent(reviewed):
    child = clean(reviewed.path)
    shutil.rmtree(reviewed.path)
    found = verify(child.path, examples=3, halves=0, seeds=1)
    assert found.methods["fsi"].single.examples == 3


def test_cleaning_a_cleaned_run_and_exporting_it_include_all_decisions(reviewed, tmp_path):
    child = clean(reviewed.path)
    ids, before = child.examples["id"].tolist(), reviewed.examples.set_index("id")
    child.decisions.record([ids[0]], "drop")
    child.decisions.record([ids[2]], "relabel", int(before.loc[ids[2], "label"]))  # back to what the data say
    child.decisions.record([ids[7]], "relabel", _next(before.loc[ids[7], "label"]))
    grandchild = clean(child.path)
    gone = [*reviewed.examples["id"][:3], ids[0]]
    assert grandchild.examples["id"].tolist() == [id_ for id_ in reviewed.examples["id"] if id_ not in gone]
    labels = grandchild.examples.set_index("id")["label"]
    assert labels[ids[2]] == before.loc[ids[2], "label"]
    assert labels[ids[7]] == _next(before.loc[ids[7], "label"])
    assert grandchild.manifest.details["cleaning"]["dropped"] == 1

    summary = export_run(child, "csv", tmp_path / "all.csv")
    assert (summary.kept, summary.dropped, summary.relabelled) == (156, 4, 1)
    listed = pd.read_csv(tmp_path / "all.csv", keep_default_na=False).query("split == 'train'").set_index("id")
    assert listed.loc[gone, "action"].eq("drop").all()
    assert listed.loc[ids[2], "action"] == "keep"
    assert (listed["label_in_data"] == before["label_name"].reindex(listed.index)).all()
    provenance = json.loads((tmp_path / "all.csv.provenance.json").read_text())
    assert len(provenance["decisions"]) == 6
    out = export_run(child, "folder", tmp_path / "all.zip").path
    zipfile.ZipFile(out).extractall(tmp_path / "all")
    assert len(open_dataset(tmp_path / "all").train) == 156


def test_a_cleaning_that_was_killed_resumes(reviewed):
    kill_at("leave-one-out", clean, reviewed.path)
    cut = Run.open(cleaned_folder(reviewed))
    assert cut.status != "complete"
    trained = cut.manifest.stages["training"]
    assert trained.status == "done"
    child = clean(reviewed.path)
    assert child.path == cut.path
    assert child.manifest.stages["training"] == trained
    assert child.status == "complete"
    assert child.manifest.details["cleaning"]["dropped"] == 3


def test_the_command_prints_both_accuracies(reviewed, capsys):
    assert main(["clean", str(reviewed.path), "--out", str(reviewed.path.with_name("mine"))]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    child = Run.open(reviewed.path.with_name("mine"))
    was, is_ = (run.manifest.metrics["test_accuracy"] for run in (reviewed, child))
    assert "157 training examples kept (1 relabeled), 3 dropped" in printed
    assert f"The accuracy on the same 40 test examples changed from {was:.1%} to {is_:.1%}" in printed
    assert "95% interval" in printed


def test_what_cannot_be_cleaned_is_refused(scored, reviewed, tmp_path):
    with pytest.raises(InputError, match="no decision that changes its dataset"):
        clean(scored.path)
    assert not scored.path.with_name("run-cleaned").exists()
    with pytest.raises(InputError, match="not a run"):
        clean(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is the run that was reviewed"):
        clean(reviewed.path, reviewed.path)
    with pytest.raises(InputError, match="has changed since"):
        clean(reviewed.path, data="digits")
    digit = reviewed.examples["label_name"][0]
    members = reviewed.examples["id"][reviewed.examples["label_name"] == digit].tolist()
    reviewed.decisions.record(members, "drop")
    with pytest.raises(InputError, match=f"leave no training example in the class '{digit}'"):
        clean(reviewed.path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,action\nother,drop\n", "columns id, action, label"),
        ("id,action,label\n", "one row for each decision"),
        ("id,action,label\ntrain-00000,delete,\n", "an action must be drop or relabel, not 'delete'"),
        ("id,action,label\nother,drop,\nanother,drop,\n", "has the id 'other' .and 1 more"),
        ("id,action,label\ntrain-00000,relabel,cat\n", "there is no class 'cat'"),
        ("id,action,label,split\ntrain-00000,drop,,eval\n", "a split must be train, validation, test, not 'eval'"),
        ("id,action,label,split\ntrain-00000,drop,,test\n", "no test example has the id 'train-00000'"),
        ("id,action,label\ntrain-00000,drop,\ntrain-00000,relabel,digit 1\n", "more than one row decides about"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(scored, tmp_path, text, message):
    file = tmp_path / "decisions.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        with_decisions(open_dataset(scored.manifest.dataset.location), file)
    with pytest.raises(InputError, match="cannot be read"):
        with_decisions(open_dataset(scored.manifest.dataset.location), tmp_path)


def test_ids_of_any_kind_survive_the_file(tmp_path):
    ids = [f"train-{i:05d}" for i in range(60)]
    ids[:4] = ['a,"b"', "two\nlines", "=1+1", "猫 "]
    data = make_data(tmp_path / "data.parquet", 60, ids=ids)
    run = score(quick(tmp_path, data=str(data), **LEAN))
    run.decisions.record(ids[:4], "drop")
    assert clean(run.path).examples["id"].tolist() == ids[4:]


# -- comparing -------------------------------------------------------------------------------------------------------


def _judged(ids, correct, label="cat"):
    return pd.DataFrame({"id": ids, "label_name": label, "correct": correct})


def test_accuracies_are_paired_by_id_and_label():
    before = _judged(list("abcdef"), [True, True, False, False, True, True])
    after = _judged(list("fcbaxe"), [True, True, True, False, True, False])
    after.loc[5, "label_name"] = "dog"
    found = paired_accuracies(before, after)
    assert found.examples == 4  # d and x are in one alone, e has two labels
    assert (found.gained, found.lost) == (1, 1)
    assert found.difference == 0
    assert found.standard_error == pytest.approx(np.sqrt(2) / 4)
    assert paired_accuracies(before, _judged(["z"], [True])).examples == 0


def test_the_interval_of_a_difference_covers_it():
    """Draw many test sets of 100 from a population in which 10% are gained and 4% lost."""
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        kind = generator.choice(3, 100, p=[0.1, 0.04, 0.86])
        found = paired_accuracies(_judged(range(100), kind != 0), _judged(range(100), kind != 1))
        low, high = found.interval
        assert low <= found.difference <= high
        covered += low <= 0.06 <= high
    assert 930 <= covered <= 980
    same = paired_accuracies(_judged(range(100), [True] * 100), _judged(range(100), [True] * 100))
    assert same.interval[0] < 0 < same.interval[1]


def test_rank_correlations_are_spearmans():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=50), "b": generator.integers(0, 5, 50)})
    frame["c"] = -(frame["a"] ** 3)
    found = rank_correlations(frame)
    assert found.loc["a", "b"] == pytest.approx(spearmanr(frame["a"], frame["b"])[0])
    assert found.loc["a", "c"] == pytest.approx(-1)
    with_gaps = frame["b"].astype(float).where(np.arange(50) > 9)
    value, count = rank_correlation(frame["a"].to_numpy(), with_gaps.to_numpy())
    assert (value, count) == (pytest.approx(spearmanr(frame["a"][10:], frame["b"][10:])[0]), 40)


def test_runs_from_before_decisions_resume_with_the_same_scores(tmp_path):
    """A run from before the field existed resumes, and is not mistaken for another configuration."""
    run = score(quick(tmp_path, max_train=50, **LEAN))
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["config"].pop("decisions", None)
    manifest["fingerprint"] = ac.runs.fingerprint(manifest["config"])
    file.write_text(json.dumps(manifest))
    assert score(quick(tmp_path, max_train=50, **LEAN)).manifest.stages == run.manifest.stages
