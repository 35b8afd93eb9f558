"""Compare cleanlab with the scores of a run, on digits."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy import sparse

from attribution_core.errors import InputError
from attribution_core.experiments.label_noise import beside_cleanlab, detection
from attribution_core.experiments.label_noise.beside_cleanlab import PROBLEMS
from attribution_core.experiments.label_noise.cleanlab_reference import cleanlab_scores
from attribution_core.scoring.score import score
from tests.support.sample_run import make_data
from tests.support.scored import quick

OFF = {"contributions": "off", "sensitivity": "off", "influence": "off"}


def problem(n=300):
    """Return probabilities that mostly favor the true label, labels of which 10% are wrong, and which are wrong."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(3, (n,), generator=generator)
    wrong = torch.arange(n) < n // 10
    logits = torch.randn(n, 3, generator=generator, dtype=torch.float64) + 4 * torch.eye(3)[true]
    return logits.softmax(dim=1), torch.where(wrong, (true + 1) % 3, true), wrong


def test_cleanlabs_scores_are_as_documented():
    probabilities, labels, wrong = problem()
    scores = cleanlab_scores(probabilities, labels)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    other = probabilities.scatter(1, labels[:, None], -1).amax(dim=1)
    assert torch.allclose(scores["self_confidence"], 1 - own)
    assert torch.allclose(scores["normalized_margin"], (1 - (own - other)) / 2)
    issues = scores["find_label_issues"] > 1
    assert torch.allclose(scores["find_label_issues"], 1 - own + 2 * issues)
    assert float(wrong[issues].double().mean()) > 0.8
    assert float(issues[wrong].double().mean()) > 0.8


def test_without_cleanlab_the_error_says_how_to_install_it(monkeypatch):
    probabilities, labels, _ = problem()
    with pytest.raises(InputError, match=r"probabilities \[n, k\]"):
        cleanlab_scores(probabilities, labels[:-1])
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(InputError, match=r"pip install 'samplescope\[experiments\]'"):
        cleanlab_scores(probabilities, labels)


def test_a_run_is_compared_with_cleanlab_on_its_own_model(tmp_path, capsys):
    data = make_data(tmp_path / "digits.parquet", 200)
    run = score(quick(tmp_path, data=str(data), **OFF))
    assert detection.main(["--run", str(run.path), "--folds", "2", "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = {line["score"]: line for line in lines}
    assert {"fsi", "si", "loss", "margin"} < set(rows)
    assert [line["area"] for line in lines] == sorted((line["area"] for line in lines), reverse=True)
    # The same model on the same inputs: rebuilt, its confidence ranks as the loss in the run does.
    for ours, theirs in (("loss", "self_confidence"), ("margin", "normalized_margin")):
        assert rows[f"cleanlab {theirs}"]["auc"] == pytest.approx(rows[ours]["auc"], abs=1e-3)
        assert rows[f"cleanlab {theirs}, held out"]["auc"] != rows[ours]["auc"]
    assert rows["random order"]["area"] == 0.5
    assert rows["perfect order"]["auc"] == 1
    assert rows["perfect order"]["area"] == lines[0]["area"]
    kept = json.loads((tmp_path / "out" / "wrong_label_detection_run.json").read_text())
    assert kept["wrong_labels"] == 10
    assert set(kept["rows"]) == set(rows)
    assert (tmp_path / "out" / "wrong_label_detection_run.png").read_bytes().startswith(b"\x89PNG")
    found = detection.known_wrong(run)
    numbers = np.array(run.class_names, dtype=object).tolist().index
    run.examples["original_label"] = [numbers(name) for name in run.examples["original_label"]]
    assert torch.equal(detection.known_wrong(run), found)  # numbers give the same result
    make_data(data, 198)
    with pytest.raises(InputError, match="has changed since"):
        detection.training_side(run)


def test_held_out_probabilities_come_from_models_that_have_not_seen_the_example(tmp_path, monkeypatch):
    run = score(quick(tmp_path, data=str(make_data(tmp_path / "digits.parquet", 60)), **OFF))
    data = detection.training_side(run)
    seen = []
    monkeypatch.setattr(detection, "train", lambda _model, side, _recipe: seen.append(side[0]))
    found = detection.held_out_probabilities(run, data, 3, torch.device("cpu"))
    assert torch.allclose(found.sum(dim=1), torch.ones(60, dtype=torch.float64))
    assert sum(len(inputs) for inputs in seen) == 2 * 60
    times = [sum(int((inputs == image).all(dim=(1, 2, 3)).sum()) for inputs in seen) for image in data[0]]
    assert times == [2] * 60  # in all folds but its own


def test_a_run_without_the_original_labels_is_refused(tmp_path):
    run = score(quick(tmp_path, **OFF))
    with pytest.raises(InputError, match="column original_label"):
        detection.main(["--run", str(run.path)])


def test_label_quality_stands_beside_cleanlab_on_the_same_features(tmp_path, capsys, monkeypatch):
    data = str(make_data(tmp_path / "digits.parquet", 200))
    monkeypatch.setitem(PROBLEMS, "demo", lambda *_: data)
    assert detection.main(["--data", "demo", "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ours, *theirs = lines
    assert (ours["judge"], ours["shares"], ours["examples"]) == ("label quality", {"ntk kernel of pixels": 1.0}, 300)
    assert ours["wrong_labels"] == 10
    assert ours["ap"] > 0.7
    assert ours["suggested_right"] > 0.7
    assert len(theirs) == 9  # three scores at three regularizations
    assert len({line["judge"] for line in theirs}) == 9
    kept = json.loads((tmp_path / "out" / "wrong_label_detection.json").read_text())
    assert kept["mean_ap"]["demo"]["label quality"] == ours["ap"]


def test_cleanlab_has_each_kind_of_features_and_all_side_by_side(tmp_path, capsys, monkeypatch):
    generator = np.random.default_rng(0)
    labels = torch.from_numpy(generator.integers(0, 2, 90))
    dense = torch.from_numpy(generator.normal(size=(90, 3))).float() + labels[:, None]
    kinds = {"words": sparse.csr_matrix(dense.numpy() * (dense.numpy() > 1)), "vectors": dense}
    given = labels.clone()
    given[:6] = 1 - given[:6]
    problem = beside_cleanlab.Problem(kinds, given, labels, (given != labels).numpy(), 0.0)
    monkeypatch.setattr(beside_cleanlab, "opened", lambda _: problem)
    monkeypatch.setattr(beside_cleanlab, "REGULARIZATIONS", (1.0,))
    monkeypatch.setitem(PROBLEMS, "demo", lambda *_: "")
    assert detection.main(["--data", "demo", "--out", str(tmp_path / "out")]) == 0
    judges = [json.loads(line)["judge"] for line in capsys.readouterr().out.splitlines()]
    counts = {kind: sum(judge.endswith(f", {kind}") for judge in judges) for kind in [*kinds, "all features"]}
    assert set(counts.values()) == {3}
    joined = beside_cleanlab._side_by_side(list(kinds.values()))
    assert np.allclose(joined.toarray(), np.c_[kinds["words"].toarray(), dense.numpy()])
    assert torch.equal(beside_cleanlab._side_by_side([dense, dense]), torch.cat([dense, dense], 1))


def test_permuted_values_stand_beside_cleanlabs_regression(tmp_path, capsys):
    (tmp_path / "uci").mkdir()
    features = np.random.default_rng(0).normal(size=(120, 3))
    rows = np.c_[features, features @ [3.0, -2.0, 1.0] + 50]
    np.savetxt(tmp_path / "uci" / "concrete.txt", rows)
    options = ["--data", "concrete", "--data-root", str(tmp_path), "--seeds", "1", "--out", str(tmp_path / "out")]
    assert detection.main(options) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["judge"].split(",")[0] for line in lines] == ["label quality", *["cleanlab regression"] * 2]
    assert lines[0]["ap"] > 0.9
    with pytest.raises(InputError, match="give their folder as --data-root"):
        detection.main(["--data", "concrete", "--out", str(tmp_path / "out")])
