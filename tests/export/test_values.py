"""Images whose labels are values are scored, cleaned and exported in their original format."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import TensorDataset

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from tests.support.builders import encoded, write_parquet
from tests.support.exports import PIXELS, SPLITS, N, examples_by_split, make_manifest, unzipped, write_npz
from tests.support.hugging_face import save_splits

AGES = (20 + 0.25 * np.random.default_rng(0).permutation(N)).tolist()  # exact in float32
YEARS = np.arange(N) % 7
NAMES = np.array([str(10 * i) for i in range(7)])


def saved(folder):
    """Write a folder as save_to_disk does, with ages as labels and no class names."""
    path = save_splits(folder / "saved", train=40, test=8)
    for split, ages in (("train", AGES[:40]), ("test", AGES[40:])):
        file = path / split / "data-00000-of-00001.arrow"
        table = pa.ipc.open_stream(file.read_bytes()).read_all()
        table = table.drop_columns("animal").append_column("label", pa.array(ages, "float32"))
        text, value = {"_type": "Value", "dtype": "string"}, {"_type": "Value", "dtype": "float32"}
        features = {"img": {"_type": "Image"}, "source": text, "label": value}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        (path / split / "dataset_info.json").write_text(json.dumps({"features": features}))
    return path


FORMS = {
    "csv": ("auto", lambda folder: make_manifest(folder, ".csv", [f"{age:.2f}" for age in AGES], original_label=AGES)),
    "tsv": ("regression", lambda folder: make_manifest(folder, ".tsv", YEARS.tolist(), split=SPLITS)),
    "jsonl": ("auto", lambda folder: make_manifest(folder, ".jsonl", AGES, split=SPLITS, box=[[1, 2]] * N)),
    "parquet": ("auto", lambda folder: write_parquet(folder / "d.parquet", AGES, split=SPLITS, original_label=AGES)),
    "parquet of names": (
        "regression",
        lambda folder: write_parquet(folder / "d.parquet", YEARS.tolist(), names=NAMES.tolist()),
    ),
    "npz": (
        "auto",
        lambda folder: write_npz(folder, x_train=PIXELS, y_train=np.array(AGES, dtype=np.float32)[:, None]),
    ),
    "npz of whole numbers": (
        "regression",
        lambda folder: write_npz(folder, images=PIXELS, labels=YEARS.astype(np.uint8)),
    ),
    "npz of names": ("regression", lambda folder: write_npz(folder, images=PIXELS, labels=YEARS, class_names=NAMES)),
    "npz of texts": ("regression", lambda folder: write_npz(folder, x=PIXELS, y=NAMES[YEARS])),
    "saved": ("auto", saved),
}


def scored(folder, data, splits=None, **options) -> ac.Run:
    quick = {"model": "linear", "recipe": Recipe(epochs=2, loss="mse"), "map": "off"}
    quick |= dict.fromkeys(("contributions", "sensitivity", "influence"), "off")
    return ac.score(ac.ScoreConfig(data=str(data), out=folder / "run", **{**quick, **options}), splits=splits)


def review(run) -> None:
    """Drop one example, keep one and change the values of two."""
    ids = run.examples["id"]
    run.decisions.record([ids[0]], "drop")
    run.decisions.record([ids[1]], "keep")
    run.decisions.record([ids[2]], "relabel", 33.7)
    run.decisions.record([ids[5]], "relabel", 40.0)


def contents(split) -> dict[bytes, float]:
    return {split[i][0].tobytes(): split[i][1] for i in range(len(split))}


def decided(run, train) -> dict[bytes, float]:
    """Return the training images that should remain, with their values."""
    table = run.cleaned_labels()
    assert table["id"].tolist() == train.ids
    return {train[i][0].tobytes(): table["label"][i] for i in np.flatnonzero(table["action"] != "drop")}


def decided_splits(run, data, before) -> dict[str, dict[bytes, float]]:
    """Return the images that should remain in each split that the data have, with their values."""
    expected = examples_by_split(data, before, contents)
    for image in contents(before.train):
        del expected["train"][image]
    expected["train"] |= decided(run, before.train)
    return expected


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_scored_and_exported(tmp_path, form):
    task, make = FORMS[form]
    data = make(tmp_path)
    run = scored(tmp_path, data, task=task)
    before = open_dataset(data, task=task)
    assert (run.class_names, run.values.name) == ([], "label")
    assert run.examples["label"].tolist() == before.train.labels.tolist()
    assert np.isfinite(run.examples[["fsi", "residual"]]).all(axis=None)
    if "original_label" in run.examples:
        assert run.examples["original_label"].tolist() == run.examples["label"].tolist()
    review(run)
    suffix = data.suffix if data.is_file() else ".zip"
    summary = export_run(run, "same", tmp_path / "out" / f"clean{suffix}")
    assert (summary.dropped, summary.relabelled) == (1, 2)
    path = unzipped(summary.path)
    found = examples_by_split(path, open_dataset(path, task="regression"), contents)
    assert found == {
        split: pytest.approx(values, rel=1e-6) for split, values in decided_splits(run, data, before).items()
    }


def test_every_measure_is_computed_and_a_cleaned_run_is_exported_too(tmp_path):
    brightness = np.linspace(0, 1, N)
    images = np.clip(PIXELS / 4 + 190 * brightness[:, None, None], 0, 255).astype(np.uint8)
    data = write_npz(tmp_path, images=images, labels=brightness * 3 - 1)
    everything = {"contributions": "auto", "sensitivity": "auto", "influence": "on"}
    recipe = Recipe(epochs=60, loss="mse", learning_rate=0.01)
    run = scored(tmp_path, data, model="mlp", hidden=(8,), recipe=recipe, **everything)
    assert {"fsi", "si", "contribution", "sensitivity", "loo_loss", "self_influence", "residual"} <= set(run.scores)
    assert run.quality["test"] > 0.9
    assert ac.verify(run.path, examples=3, halves=0, seeds=1).methods["loo_loss"].single.examples == 3
    review(run)
    again = clean(run.path)
    assert again.values == run.values
    again.decisions.record([again.examples["id"][9]], "drop")
    path = export_run(again, "same", tmp_path / "clean.npz").path
    expected = decided_splits(run, data, open_dataset(data))["train"]
    expected.pop(images[int(again.examples["id"][9].removeprefix("row-"))].tobytes())
    found = examples_by_split(path, open_dataset(path, task="regression"), contents)
    assert found["train"] == pytest.approx(expected)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_cells_without_a_decision_stay_as_they_were(tmp_path, suffix):
    written = [f"{age:.3f}" if i % 2 else f"{age:.1e}" for i, age in enumerate(AGES)]
    written[:30] = [str(i) for i in range(30)]
    cells = written if suffix == ".csv" else [json.loads(text) for text in written]
    data = make_manifest(tmp_path, suffix, cells)
    run = scored(tmp_path, data)
    chosen = run.examples[run.examples["id"].isin([f"pictures/{i}.png" for i in range(30)])]["id"].tolist()[:2]
    run.decisions.record(chosen[:1], "relabel", 77.0)
    run.decisions.record(chosen[1:], "relabel", 88.5)
    path = export_run(run, "same", tmp_path / f"clean{suffix}").path
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line]
    rows = csv.DictReader(lines) if suffix == ".csv" else map(json.loads, lines)
    found = {row["File"]: row["label"] for row in rows}
    wanted = {f"pictures/{i}.png": cell for i, cell in enumerate(cells)}
    new = dict(zip(chosen, ("77", "88.5") if suffix == ".csv" else (77, 88.5), strict=True))
    assert found == {**wanted, **new}
    assert all(type(found[name]) is type(cell) for name, cell in {**wanted, **new}.items())


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(np.array(AGES, dtype=np.float32), "float32"), (YEARS.astype(np.uint8), "float64"), (NAMES[YEARS], "<U4")],
)
def test_an_archive_keeps_a_type_that_holds_the_values(tmp_path, labels, dtype):
    run = scored(tmp_path, write_npz(tmp_path, x_train=PIXELS, y_train=labels), task="regression")
    review(run)
    with np.load(export_run(run, "same", tmp_path / "clean.npz").path) as after:
        assert after["y_train"].dtype == dtype
        assert after.files == ["x_train", "y_train"]


def test_values_are_plain_features_in_parquet_and_saved_datasets(tmp_path):
    run = scored(tmp_path, FORMS["csv"][1](tmp_path))
    path = tmp_path / "clean.parquet"
    assert main(["export", str(run.path), "--format", "parquet", "--out", str(path)]) == 0
    metadata = json.loads(pq.read_schema(path).metadata[b"huggingface"])
    assert metadata["info"]["features"]["label"] == {"dtype": "float64", "_type": "Value"}
    with pytest.raises(InputError, match="are values, not classes"):
        export_run(run, "folder", tmp_path / "clean.zip")
    datasets = pytest.importorskip("datasets")
    (tmp_path / "hf").mkdir()
    run = scored(tmp_path / "hf", saved(tmp_path / "hf"))
    review(run)
    found = datasets.load_from_disk(unzipped(export_run(run, "same", tmp_path / "clean.zip").path))["train"]
    assert found.features["label"].dtype == "float32"
    dropped, _, *changed = (int(id_.removeprefix("train-")) for id_ in run.examples["id"][[0, 1, 2, 5]])
    expected = np.array(AGES[:40], dtype=np.float32)
    expected[changed] = (33.7, 40.0)
    assert found["label"][:] == np.delete(expected, dropped).tolist()


@pytest.mark.parametrize("targets", [torch.tensor(AGES)[:, None], torch.from_numpy(YEARS)])
def test_a_torch_dataset_of_values_is_scored_cleaned_and_retrained_on(tmp_path, targets):
    task = "auto" if targets.is_floating_point() else "regression"
    data = TensorDataset(torch.from_numpy(PIXELS), targets)
    splits = open_dataset(data, task=task)
    run = scored(tmp_path, "tensors", splits=splits)
    assert run.values.name == "label"
    review(run)
    listed = pd.read_csv(export_run(run, "same", tmp_path / "clean.csv").path)
    cleaned = ac.cleaned_dataset(run, data)
    assert cleaned.targets == listed[listed["split"] == "train"]["label"].tolist()
    assert {image.numpy().tobytes(): value for image, value in cleaned} == decided(run, splits.train)
    held_out = ac.cleaned_dataset(run, data, "test")
    assert held_out.targets == splits.test.labels.tolist()
    exported = open_dataset(export_run(run, "parquet", tmp_path / "clean.parquet", data=data).path, task="regression")
    assert contents(exported.train) == decided(run, splits.train)
    child = clean(run.path, data=data)
    assert child.examples["label"].tolist() == cleaned.targets


def test_values_are_float32_targets(tmp_path):
    train = open_dataset(write_parquet(tmp_path / "d.parquet", AGES, images=[encoded(i) for i in range(N)])).train
    _, targets = ac.datasets.as_tensors(train, size=None, statistics=None)
    assert targets.dtype == torch.float32
    assert targets.tolist() == pytest.approx(((train.labels - train.labels.mean()) / train.labels.std()).tolist())
