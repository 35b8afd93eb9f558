import itertools
import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from attribution_core.errors import InputError
from attribution_core.evaluation.detection import detection_curve, suspicious_scores
from attribution_core.runs import Run
from tests.support.sample_run import make_run


def problem(n=300, seed=0):
    """Return labels of which 15% are wrong, and scores with and without ties that partly find them."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(n, generator=generator) < 0.15
    noisy = wrong.double() + torch.randn(n, generator=generator, dtype=torch.float64)
    scores = {"fine": noisy, "coarse": noisy.round(), "reversed": -noisy, "two-valued": (noisy > 0.5).float()}
    return scores, wrong


def test_the_area_under_the_roc_curve_is_scikit_learns():
    scores, wrong = problem()
    curve = detection_curve(scores, wrong)
    for name, values in scores.items():
        assert curve.auc[name] == pytest.approx(roc_auc_score(wrong, values), abs=1e-12)
    p = float(wrong.double().mean())
    assert curve.area["fine"] == pytest.approx(p / 2 + (1 - p) * roc_auc_score(wrong, scores["fine"]), abs=1e-12)
    assert curve.area["fine"] + curve.area["reversed"] == pytest.approx(1, abs=1e-12)


def test_a_constant_score_gives_exactly_the_diagonal_and_a_perfect_one_the_most():
    _, wrong = problem(997)
    curve = detection_curve({"constant": torch.full((997,), 3.7), "perfect": wrong.float()}, wrong)
    assert torch.equal(curve.found["constant"], curve.inspected)
    assert curve.area["constant"] == pytest.approx(0.5, abs=1e-12)
    assert curve.auc["constant"] == pytest.approx(0.5, abs=1e-12)
    assert curve.area["perfect"] == pytest.approx(curve.perfect_area, abs=1e-12)
    assert curve.auc["perfect"] == pytest.approx(1, abs=1e-12)
    assert curve.perfect_area == 1 - float(wrong.double().mean()) / 2


def test_ties_count_as_the_mean_over_all_their_orders():
    scores = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, -math.inf])
    wrong = torch.tensor([False, True, False, False, True, False])
    orders = [[0, *tied, 5] for tied in itertools.permutations([1, 2, 3, 4])]
    mean = torch.stack([wrong[order].double().cumsum(0) for order in orders]).mean(dim=0) / 2
    found = detection_curve({"tied": scores}, wrong).found["tied"]
    assert found[0] == 0
    assert torch.allclose(found[1:], mean)


def test_the_share_found_first_is_interpolated():
    wrong = torch.tensor([True, False, True, False, False, False, False, False, False, False])
    curve = detection_curve({"score": torch.arange(10, 0, -1)}, wrong)
    assert curve.found["score"].tolist() == [0, 0.5, 0.5, 1, 1, 1, 1, 1, 1, 1, 1]
    assert curve.found_at(0.1) == {"score": 0.5}
    assert curve.found_at(0.05)["score"] == pytest.approx(0.25)
    assert curve.found_at(0)["score"] == 0
    assert curve.found_at(1)["score"] == 1
    row = curve.rows()["score"]
    assert row == {"area": curve.area["score"], "auc": curve.auc["score"], "5%": 0.25, "10%": 0.5, "20%": 0.5}
    with pytest.raises(InputError, match="share inspected"):
        curve.found_at(1.5)


def test_unusable_labels_and_scores_are_refused():
    scores = torch.rand(4)
    for wrong in (torch.zeros(4), torch.ones(4), torch.tensor([[True, False]])):
        with pytest.raises(InputError, match="some labels wrong"):
            detection_curve({"score": scores}, wrong.bool())
    wrong = torch.tensor([True, False, False, False])
    with pytest.raises(InputError, match=r"score lost .* 1 NaN"):
        detection_curve({"score": scores, "lost": torch.tensor([0.0, 1.0, torch.nan, 2.0])}, wrong)
    with pytest.raises(InputError, match=r"score short .* \[3\]"):
        detection_curve({"short": scores[:3]}, wrong)


def test_a_runs_scores_point_where_the_registry_says(tmp_path):
    run = Run.open(make_run(tmp_path / "run", n=40))
    scores = suspicious_scores(run)
    assert {"fsi", "loss", "margin"} <= set(scores)
    assert "confidence" not in scores  # neither of its ends hints at a wrong label
    assert torch.equal(scores["fsi"], torch.tensor(run.examples["fsi"].to_numpy()))
    assert torch.equal(scores["margin"], -torch.tensor(run.examples["margin"].to_numpy()))
