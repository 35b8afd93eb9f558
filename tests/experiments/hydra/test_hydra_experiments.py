"""Test the parts of the HYDRA experiments on problems of seconds; their numbers come from the commands."""

import json
from types import SimpleNamespace

import pytest
import torch

from attribution_core.experiments.data import with_wrong_labels
from attribution_core.experiments.figures import write_figure
from attribution_core.experiments.hydra import agreement, wrong_labels
from attribution_core.training import Recipe


def images(n, seed=0):
    """Draw three kinds of noisy stripes, labeled 0 to 2."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    patterns = torch.stack([torch.sin(torch.arange(28) * (1 + label)).expand(28, 28) for label in range(3)])
    return patterns[labels][:, None] + 0.5 * torch.randn(n, 1, 28, 28, generator=generator), labels


def test_agreement_counts_wrong_signs_and_compares_ranks():
    exact = torch.tensor([1.0, -2.0, 3.0, -4.0])
    assert agreement.agreement(exact * 7, exact) == {"sign_error": 0.0, "spearman": 1.0}
    assert agreement.agreement(-exact, exact) == {"sign_error": 1.0, "spearman": -1.0}


def test_the_schedules_are_those_of_table_3_of_the_supplement():
    step = wrong_labels.RECIPE.model_copy(update=wrong_labels.SCHEDULES["mnist"])
    steps = step.steps(640)
    rates = [step.rate(epoch * 10, steps) for epoch in range(20)]
    assert rates == pytest.approx([0.01] * 5 + [0.001] * 15)
    for recipe in (wrong_labels.RECIPE.model_copy(update=wrong_labels.SCHEDULES["fashion-mnist"]), agreement.PAPER):
        assert (recipe.schedule, recipe.plateau_loss) == ("plateau", "training_and_validation")
        assert (recipe.patience, recipe.factor, recipe.learning_rate) == (2, 0.5, 0.01)


@pytest.fixture
def calm(monkeypatch):
    """Make training hardly move the weights, so that the Hessian does not matter."""
    paper = agreement.PAPER.model_copy(update={"learning_rate": 1e-5, "momentum": 0.0, "batch_size": 16})
    monkeypatch.setattr(agreement, "PAPER", paper)


def test_the_study_over_epochs_compares_at_each_end(calm, capsys, tmp_path):
    saved = []
    splits = images(120), images(20, 2), images(30, 1)
    agreement.epochs_study(*splits, 3, [1, 3, 9], 2, lambda rows: saved.append(list(rows)))
    assert [json.loads(line)["epochs"] for line in capsys.readouterr().out.splitlines()] == [1, 3]
    for row in saved[-1]:
        assert row["all"]["spearman"] > 0.999
        assert row["all"]["sign_error"] < 0.02
        assert row["growth"] < 1.01
        assert row["hypergradient_error"] < 0.01 * row["hypergradient_size"]
    write_figure(tmp_path / "figure.png", agreement.panels("epochs", saved[-1]))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_of_factors_has_every_compared_number(tmp_path):
    recipe = Recipe(learning_rate=0.01, batch_size=16, epochs=2)
    row = agreement.with_factors({"name": "linear"}, recipe, images(48), images(5, 1), subsets=4, seeds=2)
    for part in ("mean", "each"):
        assert {"sign_error", "spearman", "lds_free", "lds_exact", "ceiling", "growth"} == set(row[part])
        assert -1 <= row[part]["lds_exact"] <= 1
    alone = agreement.with_factors({"name": "linear"}, recipe, images(48), images(5, 1), subsets=0, seeds=2)
    assert alone["mean"]["spearman"] == row["mean"]["spearman"]
    for rows in ([row], [alone]):
        named = [{"model": "linear", "change": "base", **each} for each in rows]
        write_figure(tmp_path / "figure.png", agreement.panels("factors", named))


def test_the_requested_number_of_labels_is_changed():
    labels = torch.arange(1000) % 10
    changed, wrong = with_wrong_labels(labels, 0.8, 10, seed=0)
    assert int(wrong.sum()) == 800
    assert torch.equal(changed != labels, wrong)
    assert set(changed.tolist()) == set(range(10))


def test_cleaning_keeps_a_fifth_and_reports_its_quality(capsys):
    clean, validation, test = images(100), images(40, 1), images(40, 2)
    labels, wrong = with_wrong_labels(clean[1], 0.8, 3, seed=0)
    recipe = Recipe(learning_rate=0.01, batch_size=16, epochs=2)
    rows = wrong_labels.cleaning((clean[0], labels), validation, test, wrong, 2, recipe)
    by_name = {row["kept"]: row for row in rows}
    assert by_name["the correctly labeled fifth"]["right"] == 1.0
    assert by_name["no filtering"]["right"] == 0.2
    assert len(capsys.readouterr().out.splitlines()) == len(rows) == 8


def test_clusters_are_compared_with_the_truth_label_by_label():
    clean, validation = images(90), images(20, 1)
    labels, wrong = with_wrong_labels(clean[1], 0.5, 3, seed=0)
    line = wrong_labels.clustering((clean[0], labels), validation, wrong, Recipe(batch_size=16, epochs=2))
    assert len(line["by_label"]) == 10
    for name in ("correct_labels", "random_labels"):
        assert 0 <= line[name] <= 1
        assert 0 <= line[f"{name}_standardised"] <= 1


@pytest.fixture
def trainings(monkeypatch):
    """The trajectory and the validation images of each training, of few images in place of a whole dataset."""
    found, train = [], wrong_labels.train

    def recorded(*arguments, validation=None):
        trajectory = train(*arguments, validation=validation)
        found.append((trajectory, validation))
        return trajectory

    splits = images(60), images(10, 1), images(10, 2)
    monkeypatch.setattr(wrong_labels, "images_and_labels", lambda *_: splits)
    monkeypatch.setattr(wrong_labels, "train", recorded)
    monkeypatch.setattr(wrong_labels, "write_with_options", lambda *_: None)
    return found


@pytest.mark.parametrize(
    ("options", "schedule", "late"),
    [
        ([], wrong_labels.SCHEDULES["mnist"], 0.001),
        (["--data", "fashion-mnist"], wrong_labels.SCHEDULES["fashion-mnist"], 0.01),
        (["--schedule", "constant"], {"schedule": "constant"}, 0.01),
    ],
)
def test_the_command_trains_with_the_papers_schedule_by_default(trainings, options, schedule, late):
    assert wrong_labels.main(["4", "--data-root", "nowhere", "--epochs", "7", *options]) == 0
    ((trajectory, validation),) = trainings
    assert trajectory.recipe == wrong_labels.RECIPE.model_copy(update={"epochs": 7, **schedule})
    assert trajectory.rates == pytest.approx([0.01] * 5 + [late] * 2)
    assert torch.equal(validation[0], images(10, 1)[0])  # whose loss the schedule of Fashion-MNIST watches


def test_low_contributions_hint_at_wrong_labels(monkeypatch):
    """One of the two wrong labels contributes less than both right ones, the other less than one: 3 of 4 pairs."""
    effects = torch.tensor([[-3.0, 1.0], [2.0, 2.0], [2.0, -1.0], [3.0, -1.0]])  # means -1, 2, 0.5 and 1
    wrong = torch.tensor([True, False, False, True])
    monkeypatch.setattr(wrong_labels, "hydra", lambda *_: SimpleNamespace(effect=effects))
    inputs, _ = images(4)
    recipe = Recipe(batch_size=4, epochs=1)
    line = wrong_labels.clustering((inputs, torch.tensor([0, 0, 1, 1])), images(4, 1), wrong, recipe)
    assert line["contribution_area"] == 0.75
