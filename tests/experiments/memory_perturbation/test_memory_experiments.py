"""Test the parts of the memory-perturbation experiments on problems of seconds."""

import json

import pytest
import torch
from scipy.stats import spearmanr

from attribution_core.experiments.figures import write_figure
from attribution_core.experiments.memory_perturbation import generalization, problems, removal, training_time
from attribution_core.methods.sensitivity.perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import prepare
from attribution_core.training import Recipe, train
from tests.support.stripes import striped_images

RECIPE = Recipe(learning_rate=0.5, batch_size=64, epochs=40, weight_decay=0.02)


@pytest.fixture(scope="module")
def trained():
    data = striped_images(200)
    model = build_model("linear", 10, (1, 28, 28))
    train(model, data, RECIPE)
    estimates = removal.ESTIMATES.items()
    return model, data, {name: memory_sensitivity(model, data, 4.0, **options) for name, options in estimates}


def test_removals_from_a_convex_problem_are_predicted(trained, tmp_path):
    model, data, found = trained
    before = [p.clone() for p in model.parameters()]
    columns = removal.example_removals(model, data, RECIPE.model_copy(update={"seed": 1}), found, 12)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert float(spearmanr(columns["kfac"], columns["paired"]).statistic) > 0.7
    rows = removal.compared(columns, ("real", "paired"))
    assert [row["estimate"] for row in rows] == ["kfac", "kfac, downdated", "diagonal", "error alone", "loss alone"]
    assert 0.3 < rows[0]["median_ratio"] < 3
    assert rows[0]["median_ratio"] == pytest.approx(float((columns["kfac"] / columns["paired"]).median()), abs=1e-3)
    write_figure(tmp_path / "figure.png", removal.panels("examples", columns))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_removed_class_raises_the_test_loss(trained, tmp_path):
    model, data, found = trained
    test = striped_images(100, 1)
    columns = removal.class_removals(model, data, test, RECIPE, found)
    assert set(columns) == {"real", "own", "kfac", "kfac, downdated", "diagonal", "loss alone"}
    assert (columns["own"] > columns["loss alone"]).all()
    assert (columns["kfac"] > columns["loss alone"]).all()
    write_figure(tmp_path / "figure.png", removal.panels("classes", columns))


def test_the_curve_reports_its_choice_and_what_it_costs(monkeypatch):
    monkeypatch.setitem(problems.NETWORKS, "mnist", ("linear", ()))
    monkeypatch.setitem(generalization.CURVES, "mnist", (RECIPE, 0.001))
    curve, summary = generalization.curve_study(striped_images(120), striped_images(100, 1), "mnist", RECIPE, 4)
    assert curve.deltas == pytest.approx([0.12, 1.2, 12.0, 120.0])
    best = float(curve.test_loss.min())
    picked = float(curve.test_loss[int(curve.loo_loss.argmin())])
    assert summary["above_best"] == pytest.approx(picked / best - 1, abs=1e-4)


def test_losses_are_estimated_after_the_papers_epochs(tmp_path):
    recipe = generalization.VARIANTS["adam"].model_copy(update={"epochs": 5, "weight_decay": 0.005})
    found = generalization.training_study(striped_images(96), striped_images(50, 1), "adam", recipe)
    assert found.sensitivity.shape == (3, 96)
    agreement = generalization.agreement(found)
    gap = (found.loo_loss - found.test_loss).abs().mean()
    assert agreement["mean_gap"] == pytest.approx(float(gap), abs=1e-4)
    shares = generalization.shares(found)
    assert all(0.19 <= share <= 1 for share in shares["top_20_percent"])
    json.dumps(agreement | shares)


def test_both_deltas_are_compared_with_real_removals(tmp_path, capsys, monkeypatch):
    """The estimate with the training time is the smaller one, and rows follow from the columns that are written."""
    config = ScoreConfig(data="digits", max_train=60, model="linear", recipe=Recipe(epochs=3))
    monkeypatch.setattr(training_time, "problems", lambda *_: {"digits": prepare(config)})
    assert training_time.main(["--removed", "5", "--seeds", "1", "--out", str(tmp_path)]) == 0
    first, second, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["delta_of"], second["delta_of"]) == ("objective", "with training time")
    assert first["delta"] == pytest.approx(5e-4 * len(prepare(config).splits.train), abs=1e-3)
    assert second["delta"] > first["delta"]
    assert second["mean_loss"] < first["mean_loss"]
    off = [abs(row["mean_loss"] - row["real_mean_loss"]) for row in (first, second)]
    assert off[1] < off[0] / 2
    written = json.loads((tmp_path / "memory_training_time.json").read_text())
    columns = written["columns"]["digits"]
    assert written["rows"] == [first, second]
    assert sum(columns["real loss"]) / 5 == pytest.approx(first["real_mean_loss"], abs=1e-3)
    ranks = spearmanr(columns["loss, with training time"], columns["real loss"]).statistic
    assert second["rank_loss"] == pytest.approx(float(ranks), abs=1e-3)
