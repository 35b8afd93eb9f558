"""What a run says of the labels that are known to be wrong."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.stages.detection import write_detection
from tests.support.sample_run import make_run


def detected(path, changed):
    """The run after the stage."""
    manifest = Run.open(path).manifest
    with RunWriter.start(path, manifest.config, manifest.fingerprint, manifest.title) as writer:
        write_detection(writer, changed)
    return Run.open(path)


def changed_in(path):
    examples = Run.open(path).examples
    return torch.tensor((examples["original_label"] != examples["label_name"]).to_numpy(dtype="bool"))


def test_every_score_that_hints_at_wrong_labels_has_its_curve_and_its_row(tmp_path):
    path = make_run(tmp_path / "run", n=40, evidence=False)
    changed = changed_in(path)
    run = detected(path, changed)
    curves = run.curves.query("curve == 'detection'")
    names = {"fsi", "contribution", "sensitivity", "error", "variance", "loss", "margin"}
    assert set(curves["series"]) == {*names, "random order"}
    for name, points in curves.groupby("series"):
        assert np.allclose(points["x"], np.linspace(0, 1, 101))
        assert points["y"].is_monotonic_increasing
        assert points["y"].iloc[[0, -1]].tolist() == [0, 1]
        if name == "random order":
            assert np.allclose(points["x"], points["y"])
    details = run.manifest.details["detection"]
    assert set(details["scores"]) == names
    assert details["wrong_labels"] == int(changed.sum()) == 2
    assert details["perfect_area"] == 1 - 2 / 40 / 2
    for name, row in details["scores"].items():
        sign = -1 if name in ("contribution", "margin") else 1
        assert row["auc"] == pytest.approx(roc_auc_score(changed, sign * run.examples[name]), abs=1e-12)
        points = curves[curves["series"] == name].set_index("x")["y"]
        assert row["20%"] == pytest.approx(points[0.2])
    json.dumps(details, allow_nan=False)
    # The stage adds no score.
    assert run.manifest.measures == ["fsi", "contribution", "sensitivity", "error", "variance"]


@pytest.mark.parametrize(("changed", "why"), [(None, "not known"), (torch.zeros(40, dtype=torch.bool), "with 0 wrong")])
def test_a_run_that_cannot_be_judged_says_why(tmp_path, changed, why):
    run = detected(make_run(tmp_path / "run", n=40, evidence=False), changed)
    assert why in run.manifest.details["detection"]["skipped"]
    assert "detection" not in set(run.curves["curve"])
