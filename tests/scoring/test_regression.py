"""A table whose target is a number: opened, scored with every measure, cleaned, verified, summarized and exported."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch import nn

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.evaluation.comparison import paired_quality
from attribution_core.runs import Run
from attribution_core.runs.cleaned import applied_decisions
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from attribution_core.workflows.summarize import summarize
from attribution_core.workflows.verify import verify
from tests.support.scored import ONLY_INFORMATION
from tests.support.tables import make_texts, write_table

WRONG = 15


def prices(n: int = 300, unit: float = 1.0, wrong: int = WRONG) -> pd.DataFrame:
    """A price that follows from size and age, of which some were changed; ``original_label`` keeps the true ones."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(20, 200, n), rng.uniform(0, 80, n)
    true = (50 + 3 * size - 0.8 * age + rng.normal(0, 10, n)).round(2)
    price = true.copy()
    changed = rng.choice(n, wrong, replace=False)
    price[changed] = (price[changed] + 400).round(2)
    frame = pd.DataFrame({"size": size, "age": age, "city": np.array(["Ulm", "Bonn"])[rng.integers(0, 2, n)]})
    return frame.assign(target=unit * price, original_label=unit * true)


def scored(data, out, **options) -> Run:
    return score(ScoreConfig(data=str(data), out=out, **{"model": "linear", "map": "off", **options}))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("prices")
    return scored(write_table(prices(), path / "prices.csv"), path / "run", model="mlp", hidden=(16,))


def test_values_stay_in_their_unit_and_losses_are_in_standard_deviations(run):
    examples, values = run.examples, run.values
    assert run.class_names == []
    assert (values.name, run.quality_name) == ("target", "R²")
    assert values.mean == pytest.approx(examples["label"].mean())
    assert values.scale == pytest.approx(examples["label"].std(ddof=0))
    assert np.allclose(examples["residual"], examples["predicted"] - examples["label"])
    assert np.allclose(examples["loss"], np.square(examples["residual"] / values.scale) / 2)
    assert np.allclose(examples["error"], np.abs(examples["residual"]) / values.scale, rtol=1e-4, atol=1e-5)
    assert not {"correct", "confidence", "margin"} & {*examples.columns, *run.scores}
    test = run.evaluation[run.evaluation["split"] == "test"]
    assert run.quality["test"] == pytest.approx(r2_score(test["label"], test["predicted"]))
    assert run.quality["test"] > 0.5


def test_every_measure_is_there_and_named_in_its_unit(run):
    assert {"fsi", "si", "contribution", "sensitivity", "loo_loss", "self_influence", "residual"} <= set(run.scores)
    assert run.effect_methods == ["ntk", "hydra", "influence"]
    assert run.evolutions == ["fsi", "contribution", "sensitivity"]
    assert {name: run.measure(name).unit for name in ("loss", "error", "sensitivity", "influence")} == {
        "loss": "half squared error", "error": "SD", "sensitivity": "SD", "influence": "half squared error",
    }  # fmt: skip
    assert "classes" not in run.curve("loco").definition
    assert list(run.influential("loss", 3).columns) == ["id", "label_name", "predicted_name", "residual", "loss"]


def test_ranges_of_values_stand_in_for_classes(run):
    assert len(run.strata_names) == 5
    counts = run.examples["value_range"].value_counts()
    assert counts.max() - counts.min() <= 2
    by_range = run.examples.groupby("value_range")["label"].agg(["min", "max"])
    assert (by_range["max"].iloc[:-1].to_numpy() < by_range["min"].iloc[1:].to_numpy()).all()
    assert set(run.class_effects["train_class"]) == set(run.strata_names)
    effects, train, evaluated = run.effects("ntk")[:], run.strata(run.examples), run.strata(run.evaluation)
    cell = run.class_effects.query("method == 'ntk' and train_class == @run.strata_names[1]").iloc[3]["effect"]
    assert cell == pytest.approx(effects[train == 1][:, evaluated[: effects.shape[1]] == 3].mean(), rel=1e-4)
    assert len(run.curves.query("curve == 'loco' and series == 'training'")) == 5


def test_wrong_values_are_found(run):
    found = run.manifest.details["detection"]["scores"]
    assert run.manifest.details["detection"]["wrong_labels"] == (
        run.examples["label"] != run.examples["original_label"]
    ).sum()  # fmt: skip
    assert "clusters" not in found
    assert all(found[name]["auc"] > 0.95 for name in ("loss", "loo_loss", "self_influence", "fsi"))


def test_information_and_influence_are_those_of_least_squares(tmp_path):
    """The linear model at the end of training: leave-one-out by fitting without each example."""
    data = write_table(prices(90), tmp_path / "d.csv")
    run = scored(data, tmp_path / "run", steps=float("inf"), **ONLY_INFORMATION)
    splits = open_dataset(data)
    vectors = ac.table_features(splits.by_name)
    x, y = vectors["train"].double().numpy(), splits.train.targets.double().numpy()
    at, truth = vectors["validation"].double().numpy(), splits.validation.targets.double().numpy()
    before = LinearRegression().fit(x, y).predict(at)
    without = [LinearRegression().fit(np.delete(x, i, 0), np.delete(y, i)).predict(at) for i in range(len(y))]
    information = [np.square(before - after).mean() / 2 for after in without]
    effects = [(np.square(after - truth) - np.square(before - truth)) / 2 for after in without]
    assert np.allclose(run.examples["fsi"], information, rtol=1e-4, atol=1e-9)
    assert np.allclose(run.effects("ntk")[:], effects, rtol=1e-3, atol=1e-6)


def test_the_unit_of_the_target_changes_nothing_but_the_values(tmp_path):
    one, thousand = (
        scored(write_table(prices(80, unit), tmp_path / f"{unit}.csv"), tmp_path / f"run{unit}")
        for unit in (1.0, 1000.0)
    )
    for name in ("fsi", "si", "contribution", "sensitivity", "loo_loss", "self_influence", "loss"):
        assert np.allclose(one.examples[name], thousand.examples[name], rtol=2e-3, atol=1e-7), name
    assert np.allclose(1000 * one.examples["residual"], thousand.examples["residual"], rtol=1e-3, atol=0.1)


def test_decisions_drop_and_set_values_and_the_scale_stays(run, tmp_path, capsys):
    ids = run.examples["id"]
    run.decisions.record([ids[3]], "drop")
    run.decisions.record([ids[5]], "relabel", 123.456)
    run.decisions.record([ids[7]], "relabel", 200)
    try:
        child = clean(run.path, tmp_path / "cleaned")
        assert main(["clean", str(run.path), "--out", str(child.path)]) == 0
        printed = capsys.readouterr().out
    finally:
        for _ in range(3):
            run.decisions.undo()
    after = child.examples.set_index("id")["label"]
    assert ids[3] not in after.index
    assert (after[ids[5]], after[ids[7]]) == (123.456, 200.0)
    assert after.drop([ids[5], ids[7]]).equals(run.examples.set_index("id")["label"].drop([ids[3], ids[5], ids[7]]))
    assert child.values == run.values
    assert applied_decisions(child)["label"].tolist() == [str(run.examples["label"][3]), "123.456", "200.0"]
    found = paired_quality(run.evaluation.query("split == 'test'"), child.evaluation.query("split == 'test'"))
    assert (found.before, found.after) == pytest.approx((run.quality["test"], child.quality["test"]))
    assert found.interval[0] < found.difference < found.interval[1]
    assert f"changed from {found.before:.1%} to {found.after:.1%}" in printed


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_rows_are_exported_as_they_came_but_for_what_was_decided(tmp_path, suffix):
    source = write_table(prices(), tmp_path / f"d.{suffix}")
    run = scored(source, tmp_path / "run", **ONLY_INFORMATION)
    ids = run.examples["id"]
    run.decisions.record([ids[3]], "drop")
    run.decisions.record([ids[5]], "relabel", 123.456)
    out = tmp_path / f"out.{suffix}"
    assert main(["export", str(run.path), "--format", "same", "--out", str(out)]) == 0
    frame = prices()
    rows = {name: int(name.removeprefix("row-")) for name in ids}
    frame.loc[rows[ids[5]], "target"] = 123.456
    wanted = frame.drop(index=rows[ids[3]])["target"].sort_values().to_numpy()
    exported = open_dataset(out)
    assert np.allclose(np.sort(np.concatenate([part.labels for part in exported])), wanted, rtol=1e-12)
    assert [len(part) for part in exported] == [len(run.examples) - 1, 45, 45]


def test_whole_numbers_stay_whole_in_an_export(tmp_path):
    data = write_table(prices(60).assign(target=range(60)).drop(columns="original_label"), tmp_path / "d.csv")
    run = scored(data, tmp_path / "run", **ONLY_INFORMATION)
    assert "60 different whole numbers, which are taken as values" in " ".join(run.manifest.dataset.notes)
    assert main(["export", str(run.path), "--format", "same", "--out", str(tmp_path / "out.csv")]) == 0
    assert pd.read_csv(tmp_path / "out.csv")["target"].dtype == "int64"


def test_a_run_is_verified_and_summarized(run, capsys):
    found = verify(run.path, examples=6, halves=4, seeds=2)
    assert found.methods["loo_loss"].single.pearson.value > 0.9
    assert found.methods["sensitivity"].single.pearson.value > 0.5
    curve = summarize(run.path, seeds=1, step=0.5, balanced=True).retrained
    whole = float(curve.accuracy["bottom"][0, 0])
    assert whole == pytest.approx(run.quality["test"], abs=1e-6)
    assert main(["summarize", str(run.path), "--seeds", "1", "--step", "0.5", "--processes", "1"]) == 0
    assert "Test R² after training on the rest" in capsys.readouterr().out


def test_texts_have_values_too(tmp_path):
    frame = make_texts().assign(label=lambda each: (each["label"] == "good") + np.linspace(0, 0.5, len(each)))
    recipe = Recipe(epochs=40, loss="mse")
    run = scored(write_table(frame, tmp_path / "d.csv"), tmp_path / "run", recipe=recipe, **ONLY_INFORMATION)
    assert run.quality["train"] > 0.5
    assert run.examples["text"].str.contains("film").all()


class Flat(nn.Linear):
    """Gives ``[n]`` where ``[n, 1]`` is asked for."""

    def forward(self, inputs):
        return super().forward(inputs)[:, 0]


def test_your_own_model(tmp_path):
    data = write_table(prices(80), tmp_path / "d.csv")
    splits = open_dataset(data)
    x, y = ac.table_features(splits.by_name)["train"], splits.train.targets
    module = nn.Linear(4, 1)
    fitted = LinearRegression().fit(x, y)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(fitted.coef_)[None])
        module.bias.fill_(float(fitted.intercept_))
    config = ScoreConfig(data=str(data), out=tmp_path / "run", map="off")
    run = score(config, model=module)
    assert run.quality["train"] == pytest.approx(fitted.score(x, y), abs=1e-5)
    assert run.manifest.dataset.notes == open_dataset(data).notes
    with pytest.raises(InputError, match=r"one output for the value, of shape \[2, 1\] for 2 examples; it gave \[2\]"):
        score(config.model_copy(update={"out": tmp_path / "flat"}), model=Flat(4, 1))
    with torch.no_grad():
        module.bias.fill_(300)  # in the unit of the data
    raw = score(config.model_copy(update={"out": tmp_path / "raw"}), model=module)
    assert "worse than their mean does" in raw.manifest.dataset.notes[-1]


@pytest.mark.parametrize(
    ("column", "task", "classes"),
    [
        (["a", "b"] * 20, "auto", ["a", "b"]),
        ([True, False] * 20, "auto", ["False", "True"]),
        ([1, 2] * 20, "auto", ["1", "2"]),
        ([1.0, 2.0] * 20, "auto", ["1.0", "2.0"]),
        ([1, 2] * 20, "regression", []),
        (["1", "2.5"] * 20, "auto", []),
        (range(40), "auto", []),
        (range(40), "classification", [str(i) for i in range(40)]),
        (np.linspace(0, 1, 40), "auto", []),
    ],
)
def test_what_a_column_holds(tmp_path, column, task, classes):
    frame = prices(40).drop(columns="original_label").assign(target=list(column))
    frame = pd.concat([frame.assign(split=split) for split in ("train", "validation", "test")])
    splits = open_dataset(write_table(frame, tmp_path / "d.csv"), task=task)
    assert sorted(splits.train.class_names) == sorted(classes)
    assert (splits.train.values is None) == bool(classes)
    assert splits.train.labels.dtype == (np.int64 if classes else np.float64)


def test_splits_and_subsets_are_stratified_by_value(tmp_path):
    data = write_table(prices(400, wrong=0), tmp_path / "d.csv")
    splits = open_dataset(data, max_train=100)
    everything = prices(400, wrong=0)["target"]
    for part in splits:
        assert abs(part.labels.mean() - everything.mean()) < 0.1 * everything.std()
    assert len(splits.train) == 100


def test_a_loss_that_does_not_fit_is_refused(tmp_path):
    config = ScoreConfig(data=str(write_table(prices(40), tmp_path / "d.csv")), recipe=Recipe(loss="cross_entropy"))
    with pytest.raises(InputError, match="values by their squared errors, which the loss cross_entropy does not give"):
        score(config)


def test_a_decision_about_a_value_is_a_number(run, tmp_path):
    file = tmp_path / "decisions.csv"
    file.write_text(f"id,action,label\n{run.examples['id'][0]},relabel,much\n")
    config = ScoreConfig.model_validate({**run.manifest.config, "out": tmp_path / "run", "decisions": file})
    with pytest.raises(InputError, match="a value must be a finite number, not 'much'"):
        score(config)
