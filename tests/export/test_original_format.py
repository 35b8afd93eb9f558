"""Images of every format are scored and exported in that format again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from attribution_core.progress import listening
from attribution_core.runs import Run
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from tests.support.exports import (
    COLOUR,
    IMAGE_FORMS,
    LABELS,
    NAMES,
    PIXELS,
    SPLIT_OPTIONS,
    SPLITS,
    N,
    examples_by_split,
    make_manifest,
    unzipped,
    write_npz,
    write_reviewed_run,
)
from tests.support.hugging_face import fill_cache, save_splits


def scored(folder, data, splits=None, **options) -> Run:
    config = ac.ScoreConfig(
        data=str(data), out=folder / "run", model="linear", recipe=Recipe(epochs=1), map="off", contributions="off",
        sensitivity="off", influence="off", **options,
    )  # fmt: skip
    return ac.score(config, splits=splits)


def review(run) -> dict[str, tuple[str, int | None]]:
    """Drop one example, keep one and relabel two."""
    ids, labels = run.examples["id"], run.examples["label"]
    run.decisions.record([ids[0]], "drop")
    run.decisions.record([ids[1]], "keep")
    for row in (2, 5):
        run.decisions.record([ids[row]], "relabel", int(1 - labels[row]) if labels[row] < 2 else 0)


def contents(split) -> dict[bytes, str]:
    return {split[i][0].tobytes(): split.class_names[split.labels[i]] for i in range(len(split))}


def decided(run, train) -> dict[bytes, str]:
    """Return the training images that should remain, with their labels."""
    table = run.cleaned_labels()
    assert table["id"].tolist() == train.ids
    kept = np.flatnonzero(table["action"] != "drop")
    return {train[i][0].tobytes(): run.class_names[table["label"][i]] for i in kept}


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_every_format_is_scored_and_exported(tmp_path, form):
    data = IMAGE_FORMS[form](tmp_path)
    run = scored(tmp_path, data)
    review(run)
    before = open_dataset(data)
    assert run.examples["id"].tolist() == before.train.ids
    assert np.isfinite(run.examples["fsi"]).all()
    seen = []
    suffix = data.suffix if data.is_file() else ".zip"
    with listening(lambda *call: seen.append(call)):
        summary = export_run(run, "same", tmp_path / "out" / f"clean{suffix}")
    assert (summary.dropped, summary.relabelled) == (1, 2)
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][2] == "export"
    path = unzipped(summary.path)
    after = open_dataset(path)
    expected, found = (examples_by_split(where, each, contents) for where, each in ((data, before), (path, after)))
    expected["train"] = {
        **{image: name for image, name in expected["train"].items() if image not in contents(before.train)},
        **decided(run, before.train),
    }
    assert found == expected
    assert sum(map(len, after)) == sum(map(len, before)) - 1
    assert after.train.class_names == before.train.class_names


TWO = [label % 2 for label in range(N)]  # what write_reviewed_run, which scores nothing, can relabel


def test_a_manifest_keeps_its_columns_cells_and_images(tmp_path):
    data = make_manifest(tmp_path, ".jsonl", TWO, split=SPLITS, box=[[1, 2]] * N)
    run = write_reviewed_run(tmp_path / "run", data)
    inside = export_run(run, "same", tmp_path / "clean.jsonl").path
    outside = export_run(run, "same", tmp_path / "far" / "clean.jsonl").path
    source = {row["File"]: row for row in map(json.loads, data.read_text().split("\n\n")[:-1])}
    changed = 0
    for line in inside.read_text().split("\n\n")[:-1]:
        row = json.loads(line)
        changed += row["label"] != source[row["File"]]["label"]
        assert {**row, "label": 0} == {**source[row["File"]], "label": 0}
        assert type(row["label"]) is int
    assert changed == 1
    places = [json.loads(line)["File"] for line in outside.read_text().split("\n\n")[:-1]]
    assert all(place == str(tmp_path / "pictures" / Path(place).name) for place in places)
    provenance = json.loads((tmp_path / "clean.jsonl.provenance.json").read_text())
    assert provenance["counts"] == {"kept": 31, "dropped": 1, "relabelled": 1}
    assert provenance["format"] == "manifest"
    with pytest.raises(InputError, match=r"ends in \.jsonl; clean\.csv was given"):
        export_run(run, "same", tmp_path / "clean.csv")


def test_an_archive_keeps_its_names_types_and_values(tmp_path):
    data = write_npz(tmp_path, x_train=COLOUR / 255, y_train=np.array(TWO, dtype=np.uint8)[:, None], class_names=NAMES)
    run = write_reviewed_run(tmp_path / "run", data)
    with np.load(export_run(run, "same", tmp_path / "clean.npz").path) as after:
        assert after.files == ["x_train", "y_train", "class_names"]
        assert after["y_train"].dtype == np.uint8
        assert after["y_train"].shape == (N - 1, 1)
        dropped = int(run.examples["id"][0].removeprefix("train-"))
        assert np.array_equal(after["x_train"], np.delete(COLOUR / 255, dropped, axis=0))


def test_the_exports_of_a_cleaned_run_hold_both_reviews(tmp_path):
    data = write_npz(tmp_path, images=PIXELS, labels=np.array(LABELS))
    run = scored(tmp_path, data)
    review(run)
    from attribution_core.workflows.clean import clean

    again = clean(tmp_path / "run", tmp_path / "cleaned")
    again.decisions.record([again.examples["id"][9]], "drop")
    path = export_run(again, "same", tmp_path / "clean.npz").path
    before = open_dataset(data)
    expected = examples_by_split(data, before, contents)["train"]
    expected.pop(before.train[0][0].tobytes())
    expected |= decided(run, before.train)
    expected.pop(PIXELS[int(again.examples["id"][9].removeprefix("row-"))].tobytes())
    assert examples_by_split(path, open_dataset(path), contents)["train"] == expected


def test_the_library_opens_a_saved_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    run = write_reviewed_run(tmp_path / "run", save_splits(tmp_path / "saved", train=40, test=8))
    found = datasets.load_from_disk(unzipped(export_run(run, "same", tmp_path / "clean.zip").path))
    assert set(found) == {"train", "test"}
    assert found["train"].features["animal"].names == ["cat", "dog"]
    table = run.cleaned_labels()
    dropped, _, relabelled = (int(id_.removeprefix("train-")) for id_ in table["id"][:3])
    expected = [0, 1] * 20
    expected[relabelled] = 1 - expected[relabelled]
    del expected[dropped]
    assert found["train"]["animal"][:] == expected
    assert found["train"].column_names == ["img", "animal", "source"]
    assert found["test"][0]["img"].size == (8, 8)
    assert set(found["train"]["source"]) == {"web", "book"}


def test_a_dataset_opened_by_name_is_exported_as_a_saved_one(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    fill_cache(tmp_path / "cache", "me/animals")
    run = write_reviewed_run(tmp_path / "run", "hf:me/animals")
    path = unzipped(export_run(run, "same", tmp_path / "clean.zip").path)
    before = open_dataset("hf:me/animals", **SPLIT_OPTIONS)
    expected = examples_by_split("hf:me/animals", before, contents)
    expected["train"].pop(before.train[0][0].tobytes())
    expected["train"] |= decided(run, before.train)
    assert examples_by_split(path, open_dataset(path), contents) == expected


def torch_data(classes=None):
    whole = TensorDataset(torch.from_numpy(np.moveaxis(COLOUR, 3, 1).copy()), torch.tensor(LABELS) + 4)
    if classes:
        whole.classes = classes
    return {"train": torch.utils.data.Subset(whole, range(40)), "test": torch.utils.data.Subset(whole, range(40, N))}


@pytest.mark.parametrize("classes", [None, ["-", "-", "-", "-", "ant", "bee", "cat"]])
def test_a_torch_dataset_is_scored_and_cleaned(tmp_path, classes):
    data = torch_data(classes)
    splits = open_dataset(data)
    run = scored(tmp_path, "tensors", splits=splits)
    assert run.title.startswith("TensorDataset")
    review(run)
    listed = pd.read_csv(export_run(run, "same", tmp_path / "clean.csv").path, dtype="str")
    assert list(listed) == ["id", "label", "split"]
    assert listed["split"].value_counts().to_dict() == {"train": 33, "validation": 6, "test": 8}
    cleaned = ac.cleaned_dataset(run, data)
    names = classes or [str(number) for number in range(7)]
    assert listed["label"][:33].tolist() == [names[target] for target in cleaned.targets]
    found = {image.permute(1, 2, 0).numpy().tobytes(): names[label] for image, label in cleaned}
    assert found == decided(run, splits.train)
    assert len(ac.cleaned_dataset(run, data, "validation")) == 6
    assert all(torch.equal(ac.cleaned_dataset(run, data, "test")[i][0], data["test"][i][0]) for i in range(8))
    images = open_dataset(export_run(run, "parquet", tmp_path / "clean.parquet", data=data).path)
    assert contents(images.train) == found
    assert export_run(run, "folder", tmp_path / "clean.zip", data=splits).kept == 33
    for bad, message in [
        (data["test"], "scored at least 40 examples"),
        ({"validation": data["train"]}, "did not score this torch dataset"),
    ]:
        with pytest.raises(InputError, match=message):
            ac.cleaned_dataset(run, bad)
    with pytest.raises(InputError, match="only a program has"):
        export_run(run, "parquet", tmp_path / "other.parquet")


@pytest.mark.parametrize("opened", [False, True])
def test_a_torch_dataset_is_retrained_on(tmp_path, opened):
    data = torch_data()
    run = scored(tmp_path, "tensors", splits=open_dataset(data))
    given = open_dataset(data) if opened else data
    assert ac.verify(run.path, examples=3, halves=0, seeds=1, data=given).methods["fsi"].single.examples == 3
    assert ac.summarize(run.path, seeds=1, step=0.5, data=given).retrained.fractions[-1] == 0.9
    review(run)
    child = clean(run.path, data=given)
    wanted = run.cleaned_labels().query("action != 'drop'")
    assert child.examples["id"].tolist() == wanted["id"].tolist()
    assert child.examples["label"].tolist() == wanted["label"].tolist()
    review(child)
    assert len(clean(child.path, tmp_path / "again", data=given).examples) == len(child.examples) - 1
    for work in (lambda: ac.verify(run.path), lambda: clean(run.path)):
        with pytest.raises(InputError, match=r"in a torch dataset \(TensorDataset\).*data=DATASET"):
            work()
    with pytest.raises(InputError, match="has changed since"):
        ac.verify(run.path, data={"train": data["test"]})


def test_a_built_in_dataset_is_exported_as_parquet_from_the_command_line(tmp_path, capsys):
    run = write_reviewed_run(tmp_path / "run", "digits")
    run.decisions.undo()  # it relabels between two classes
    path = tmp_path / "clean.parquet"
    assert main(["export", str(run.path), "--format", "same", "--out", str(path)]) == 0
    kept = len(run.examples) - 1
    assert f"Kept {kept:,} training examples" in capsys.readouterr().out
    assert len(open_dataset(path).train) == kept
    run.decisions.record(run.examples["id"].tolist(), "drop")
    with pytest.raises(InputError, match="drop every training example"):
        export_run(run, "same", tmp_path / "none.parquet")


def test_missing_data_are_asked_for(tmp_path):
    data = make_manifest(tmp_path, ".csv", TWO)
    run = write_reviewed_run(tmp_path / "run", data)
    shutil.move(data, tmp_path / "moved.csv")
    with pytest.raises(InputError, match="There is no file or folder"):
        export_run(run, "same", tmp_path / "clean.csv")
    assert export_run(run, "same", tmp_path / "clean.csv", data=str(tmp_path / "moved.csv")).dropped == 1
    (tmp_path / "pictures" / "3.png").unlink()
    with pytest.raises(InputError, match="are not those that were scored"):
        export_run(run, "same", tmp_path / "again.csv", data=str(tmp_path / "moved.csv"))
