"""Test the parts of the influence-function experiments on problems of seconds."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attribution_core.errors import InputError
from attribution_core.experiments.data import cancer, table, with_wrong_labels
from attribution_core.experiments.influence_functions import (
    bregman_decomposition,
    fidelity,
    wrong_labels,
)
from attribution_core.experiments.influence_functions.bregman_decomposition import Setting
from attribution_core.experiments.influence_functions.kronfluence_reference import kronfluence_effects
from attribution_core.experiments.influence_functions.problems import Problem
from attribution_core.methods.influence.functions import influence_functions, self_influence
from attribution_core.methods.influence.pairs import effects_on_pairs
from attribution_core.methods.influence.proximal_bregman import proximal_bregman_response
from attribution_core.models import build_model
from attribution_core.training import Recipe, outputs_of, train
from attribution_core.training.trainer import state_of
from tests.support.stripes import striped_images

RECIPE = Recipe(learning_rate=0.3, momentum=0.0, batch_size=32, epochs=6, weight_decay=0.0, schedule="constant")


def blobs(n, seed=0):
    """Draw three overlapping clouds in five dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    middles = torch.randn(3, 5, generator=torch.Generator().manual_seed(9))
    return middles[labels] + torch.randn(n, 5, generator=generator), labels


def small_problem():
    return Problem("small", blobs(60), blobs(20, 1), "mlp", (8,), 3, RECIPE)


def test_the_gap_is_decomposed_and_the_results_are_kept(tmp_path, monkeypatch):
    given = Setting(blobs(64), blobs(20, 1), "cross_entropy", (8,), 3, RECIPE, damping=0.1)
    kept = tmp_path / "partial.json"
    found = bregman_decomposition.decompose(given, 3, True, kept)
    line = bregman_decomposition.summary(found)
    assert list(line["parts"]) == list(bregman_decomposition.PARTS)
    assert all(mean >= 0 for mean, _ in line["parts"].values())
    assert line["parts"]["solver"][0] < line["parts"]["proximity"][0]
    assert line["correlations"]["cg"]["bregman"][0] > 0.9  # at this much damping the response is nearly linear
    monkeypatch.setattr(bregman_decomposition, "optima", None)  # nothing is computed twice
    assert bregman_decomposition.decompose(given, 3, True, kept)["removals"] == found["removals"]


def test_cancer_is_minimized_with_the_papers_regularization(tmp_path):
    given = bregman_decomposition.setting("cancer", tmp_path, None, None, None)
    assert given.by_lbfgs
    assert (given.recipe.weight_decay, given.damping) == (0.01, 0.001)
    model = given.network()
    start = bregman_decomposition.minimum(given, state_of(model))
    model.load_state_dict(start)
    objective = torch.nn.functional.cross_entropy(model(given.data[0]), given.data[1])
    objective = objective + 0.005 * sum(each.square().sum() for each in model.parameters())
    gradients = torch.autograd.grad(objective, list(model.parameters()))
    assert max(float(each.abs().max()) for each in gradients) < 1e-8
    found = bregman_decomposition.optima(given, model, start, 3, converged=False)
    outputs = {name: bregman_decomposition.outputs_at(model, each, given.data[0]) for name, each in found.items()}
    moved = float((outputs["warm"] - outputs["proximal"]).norm())
    assert moved > 1e-6
    # A convex objective has one minimum, and at the minimum of J the proximal objective is the Bregman one.
    assert float((outputs["cold"] - outputs["warm"]).norm()) < 1e-3 * moved
    assert float((outputs["proximal"] - outputs["bregman"]).norm()) < 1e-3 * moved


def regression_by_lbfgs():
    """Logistic regression that is minimized with a decay of 0.2 and has a damping of 0.1 beside it."""
    train, test = ((inputs.double(), labels) for inputs, labels in (blobs(30), blobs(8, 1)))
    recipe = RECIPE.model_copy(update={"epochs": 1, "weight_decay": 0.2, "batch_size": 30})
    return Setting(train, test, "cross_entropy", (), 3, recipe, damping=0.1, by_lbfgs=True)


def test_a_setting_by_lbfgs_is_decomposed_at_the_minimum(tmp_path):
    given = regression_by_lbfgs()
    model = given.network()
    model.load_state_dict(bregman_decomposition.minimum(given, state_of(model)))
    expected = torch.nn.functional.cross_entropy(outputs_of(model, given.data[0]), given.data[1])
    found = bregman_decomposition.decompose(given, 1, False, tmp_path / "partial.json", depth=20)
    assert found["training_loss"] == pytest.approx(float(expected), rel=1e-8)
    assert list(found["residuals"]) == ["lissa"]  # as the paper has it, and none as far as a training by SGD gets
    ((warm_start, proximity, non_convergence, *_),) = (row["parts"] for row in found["removals"].values())
    # From anywhere the objective has one minimum, and there the proximal objective is the Bregman one.
    assert max(warm_start, non_convergence) < 0.001 * proximity


def test_influence_is_damped_by_the_damping_and_the_decay():
    given = regression_by_lbfgs()
    model = given.network()
    model.load_state_dict(bregman_decomposition.minimum(given, state_of(model)))
    moved, _ = bregman_decomposition.influences(given, model, [3], True, 1)
    (inputs, labels), (weight, bias) = given.data, model.parameters()

    def loss(parameters, chosen):
        outputs = inputs[chosen] @ parameters[:15].reshape(3, 5).T + parameters[15:]
        return torch.nn.functional.cross_entropy(outputs, labels[chosen], reduction="sum") / len(inputs)

    here = torch.cat([weight.flatten(), bias]).detach()
    curvature = torch.func.hessian(loss)(here, slice(None)) + (0.1 + 0.2) * torch.eye(18)
    expected = torch.linalg.solve(curvature, torch.func.grad(loss)(here, [3]))
    (found,) = moved["cg"]
    step = torch.cat([found[name].flatten() for name in dict(model.named_parameters())]) - here
    assert (step - expected).norm() < 1e-3 * expected.norm()


def test_under_squared_error_the_response_is_influence_over_one_minus_leverage():
    inputs, labels = blobs(20)
    given = Setting((inputs, labels[:, None].float()), blobs(5, 1), "mse", (), 1, RECIPE, damping=0.1)
    given = replace(given, test=(given.test[0], given.test[1][:, None].float()))
    model = given.network()
    weights, residuals = bregman_decomposition.influences(given, model, [3], True, 1)
    assert residuals["cg"] < 1e-3
    predicted = bregman_decomposition.predicted_changes(given, model, 3, {"cg": weights["cg"][0]})
    before, start = outputs_of(model, given.test[0]), state_of(model)
    response = proximal_bregman_response(model, given.data, 3, 0.1, "mse")
    moved = bregman_decomposition.outputs_at(model, response.weights, given.test[0]) - before
    model.load_state_dict(start)
    changes = ((before - given.test[1]) * moved)[:, 0]
    assert (predicted["cg / (1 - h)"] - changes).norm() < 0.01 * changes.norm()
    assert (predicted["cg"] - changes).norm() > 0.05 * changes.norm()


def test_lissa_gets_as_far_as_the_training_of_the_response():
    given = Setting(blobs(64), blobs(20, 1), "cross_entropy", (8,), 3, RECIPE, damping=0.1)
    model = given.network()
    assert bregman_decomposition.depth_of_lissa(given, model, 32) >= 1
    longer = replace(given, recipe=RECIPE.model_copy(update={"epochs": 6000}))
    other = bregman_decomposition.depth_of_lissa(longer, model, 32)
    scale = other / (0.03 * 6000)  # two steps an epoch, half the epochs, a tenth of the rate
    assert 0.1 < scale < 10
    assert bregman_decomposition.depth_of_lissa(replace(longer, damping=scale + 0.1), model, 32) > 1.9 * other


def test_methods_are_scored_against_kept_retrainings(tmp_path):
    given = small_problem()
    names = ["sketch", "sketch, empirical", "sketch, fisher", "ekfac", "kfac", "gradient products", "cg", "lissa"]
    names.append("along training")
    options = argparse.Namespace(
        subsets=5, seeds=2, models=2, out=tmp_path, iterative=4, depth=20, methods=[*names, "kronfluence, heuristic"]
    )
    results = fidelity.compare(given, options, lambda _: None)
    assert set(results["rows"]) >= {
        *names,
        "sketch, mean of 2",
        "along training, mean of 2",
        "sketch, on those of cg",
        "kronfluence, heuristic",
    }
    assert all(-1 <= row["lds"] <= 1 for row in results["rows"].values())
    assert (tmp_path / "retrained_small.parquet").exists()


def test_kronfluence_has_our_sign_and_scale_and_nearly_our_ekfac():
    data, evaluation = blobs(300), blobs(30, 1)
    model = build_model("mlp", 3, (5,), (8,))
    train(model, data, RECIPE)
    products = kronfluence_effects(model, data, evaluation, strategy="identity")
    identity = fidelity.Identity(model, data[0])
    ours, _ = effects_on_pairs(model, data, evaluation, "cross_entropy", identity)
    assert torch.allclose(products, ours, rtol=1e-3, atol=1e-6)
    found = influence_functions(model, data, evaluation, solver="ekfac", damping=0.01).effect
    torch.manual_seed(0)  # for the labels that kronfluence draws
    theirs = kronfluence_effects(model, data, evaluation, 0.01)
    assert spearmanr(found.flatten(), theirs.flatten())[0] > 0.8
    assert 0.5 < float(found.norm() / theirs.norm()) < 2


def test_wrong_labels_come_first():
    clean = striped_images(300)
    labels, wrong = with_wrong_labels(clean[1], 0.1, 10, seed=0)
    model = build_model("mlp", 10, (1, 28, 28), (32,))
    train(model, (clean[0], labels), RECIPE.model_copy(update={"epochs": 20}))
    scores = self_influence(model, (clean[0], labels)).effect
    assert wrong_labels.found_among_first(scores, wrong, 1.0) == 1.0
    assert wrong_labels.found_among_first(wrong.float(), wrong, 0.1) == 1.0
    assert wrong_labels.found_among_first(scores, wrong, 0.3) > 0.5
    rises = wrong_labels.responses(model, (clean[0], labels), [0, 1], 5)
    assert rises.shape == (2,)


def test_tables_are_standardized_and_split(tmp_path):
    values = np.random.default_rng(0).normal(3.0, 2.0, (40, 4))
    np.savetxt(tmp_path / "table.txt", values)
    (inputs, targets), (other, _) = table(tmp_path / "table.txt")
    assert inputs.shape == (36, 3)
    assert targets.shape == (36, 1)
    assert len(other) == 4
    assert torch.allclose(inputs.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(targets.std(dim=0, correction=0), torch.ones(1), atol=1e-5)
    (tmp_path / "table.txt").write_text("a b\n")
    with pytest.raises(InputError, match="not a table of numbers"):
        table(tmp_path / "table.txt")
    (inputs, labels), _ = cancer()
    assert inputs.shape == (455, 30)
    assert set(labels.tolist()) == {0, 1}


def test_the_papers_numbers_are_printed_for_every_dataset(capsys):
    line = {
        "parts": {name: [0.1, 0.01] for name in bregman_decomposition.PARTS},
        "correlations": {
            kind: {name: [0.5, 0.4] for name in bregman_decomposition.COMPARED} for kind in ("lissa", "cg")
        },
    }
    for name in bregman_decomposition.PAPER:
        bregman_decomposition.print_table(name, json.loads(json.dumps(line)))
    assert "0.930  0.940" in capsys.readouterr().out
