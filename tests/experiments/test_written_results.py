"""Test the table and the figure that experiments write into ``--out``, on problems of seconds."""

import json

import pytest
import torch

from attribution_core.experiments.hydra import wrong_labels
from attribution_core.experiments.ntk_influence import accuracy, kernel_regime_studies
from attribution_core.experiments.unique_information import linearization_accuracy, toy


def written(experiment, name, out, capsys, *arguments):
    """Run an experiment, check its figure, and return the lines it printed and the JSON it wrote."""
    assert experiment.main([*arguments, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {f"{name}.json", f"{name}.png"}
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return lines, json.loads((out / f"{name}.json").read_text())


def problem(data_root, name, train, evaluation):
    """Return at most 30 + 10 vectors of norm 1 in place of two classes of images."""
    train, evaluation = min(train, 30), min(evaluation, 10)
    draw = torch.randn(train + evaluation, 6, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.normalize(draw, dim=1)
    y = x[:, :1].sign()
    return x[:train], y[:train], x[train:], y[train:]


def images(n, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % classes


def test_kernel_regime_studies_write_four_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kernel_regime_studies, "unit_norm_problem", problem)
    lines, results = written(
        kernel_regime_studies, "kernel_regime_studies_mnist", tmp_path / "out", capsys, "--data-root", "DIR"
    )
    assert [line["figure"] for line in lines] == ["figure_2", "figure_3", "figure_5", "figure_7"]
    for line in lines:
        assert results[line["figure"]].items() <= line.items()
    found = [panel.series for panel in kernel_regime_studies.panels(results)]
    assert found[0]["lower_bound"] == lines[0]["lower_bound"]
    assert found[1]["weight_decay_16"] == lines[1]["weight_decay_16"]["by_tenth"]
    assert found[2:] == [{"complexity": lines[2]["complexity"]}, {"flipped labels": lines[3]["flipped_share"]}]


def test_ntk_influence_accuracy_writes_a_row_for_each_width(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(accuracy, "unit_norm_problem", problem)
    arguments = "--data-root", "DIR", "--data", "cifar10", "--train", "12", "--examples", "4", "--widths", "20", "50"
    lines, results = written(accuracy, "ntk_influence_accuracy_cifar10", tmp_path / "out", capsys, *arguments)
    assert [line["width"] for line in lines] == [20, 50]
    assert results["rows"] == lines


def test_linearization_accuracy_writes_the_values_it_correlates(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(linearization_accuracy, "two_classes", lambda *_: images(1010, 2))
    monkeypatch.setattr(linearization_accuracy, "STEPS", 20)
    monkeypatch.setattr(linearization_accuracy, "UNITS", 64)
    arguments = "--data-root", "DIR", "--examples", "5", "--weight-decay", "1"
    lines, results = written(linearization_accuracy, "linearization_accuracy", tmp_path / "out", capsys, *arguments)
    assert lines[0].items() <= results.items()
    for name, columns in results["columns"].items():
        pair = torch.tensor([columns["linearized"], columns["retrained"]])
        assert pair.shape == (2, 5)
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(lines[0][f"pearson_{name}"], abs=1e-3)


def test_linearization_panel_is_in_order_of_the_real_change():
    panel = linearization_accuracy.panel("weights", torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0, 4.0, 5.0]), 0.9)
    assert panel.series == {"retrained": [4.0, 5.0, 6.0], "linearized": [2.0, 3.0, 1.0]}


@pytest.mark.parametrize("table", ["3", "4"])
def test_hydra_wrong_labels_writes_each_table(tmp_path, capsys, monkeypatch, table):
    sides = images(60, 10), images(20, 10, 1), images(20, 10, 2)
    monkeypatch.setattr(wrong_labels, "images_and_labels", lambda *_: sides)
    arguments = table, "--data-root", "DIR", "--seeds", "2", "--epochs", "1"
    lines, results = written(
        wrong_labels, f"hydra_wrong_labels_table_{table}_mnist", tmp_path / "out", capsys, *arguments
    )
    assert lines[0].items() <= results.items()
    if table == "3":
        assert results["rows"] == lines[1:]
        assert wrong_labels.cleaning_panel(lines[1:]).x[0] == "no filtering"
    else:
        assert lines[1].items() <= results.items()
        panel = wrong_labels.clustering_panel(lines[1])
        assert panel.series["wrong labels"] == [*lines[1]["by_label"], lines[1]["random_labels"]]
        assert {len(values) for values in panel.series.values()} == {len(panel.x)} == {11}


def test_toy_unique_information_writes_each_set_of_points(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(toy, "PER_CLASS", 4)
    arguments = "--draws", "3", "--runs", "10", "--seeds", "2"
    lines, results = written(toy, "toy_unique_information", tmp_path / "out", capsys, *arguments)
    assert {name: lines[0][name] for name in ("information", "divergence", "steady_state")}.items() <= results.items()
    assert len(results["divergence"]) == 2
