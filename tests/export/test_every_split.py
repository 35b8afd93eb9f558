"""Decisions about validation and test examples are exported, in every format."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.datasets import Splits, list_examples, open_dataset
from attribution_core.datasets.formats.arrow_files import SUFFIXES
from attribution_core.export.export import export_run
from attribution_core.runs import Run
from tests.support.builders import write_folder, write_parquet
from tests.support.exports import (
    IMAGE_FORMS,
    PIXELS,
    SPLIT_OPTIONS,
    SPLITS,
    TEXT_FORMS,
    N,
    unzipped,
    write_npz,
    write_run,
)
from tests.support.hugging_face import save_dataset
from tests.support.tables import TARGET, make_prices, make_table, write_table

FORMS = {
    **IMAGE_FORMS,
    **TEXT_FORMS,
    "folder of splits": lambda folder: write_folder(
        folder / "data", {"train/ant": 8, "train/bee": 8, "val/ant": 4, "val/bee": 4, "test/ant": 4, "test/bee": 4}
    ),
    "npz with a column of splits": lambda folder: write_npz(
        folder, x=PIXELS, y=np.arange(N) % 2, split=np.array(SPLITS), number=np.arange(N)
    ),
    "npz with more for each example": lambda folder: write_npz(
        folder, x_train=PIXELS[:40], y_train=np.arange(40) % 2, x_test=PIXELS[40:], y_test=np.arange(8) % 2,
        test_ids=np.arange(8), train_ids=np.arange(40),
    ),
    "ids of one split in another": lambda folder: write_parquet(
        folder / "d.parquet", [0, 1] * 24, split=SPLITS, id=[*range(32), *range(8), *range(8)]
    ),
}  # fmt: skip


def decide(run: Run, splits: Splits) -> Splits:
    """Drop the first and relabel the second example of each split, and return what should be left."""
    changed = {}
    for name, part in splits.by_name.items():
        labels = part.labels.copy()
        labels[1] = labels[1] + 10.5 if part.values is not None else (labels[1] + 1) % len(part.class_names)
        run.decisions.record([part.ids[0]], "drop", split=name)
        run.decisions.record([part.ids[1]], "relabel", labels[1].item(), name)
        changed[name] = part.relabeled(labels).subset(np.arange(1, len(part)))
    return dataclasses.replace(splits, **changed)


def contents(splits: Splits, given: object) -> dict[str, list]:
    """Return the examples of each split of the source with their labels; others were set aside from the training."""
    found: dict[str, list] = {"train": []}
    for name, part in splits.by_name.items():
        examples = (part[i][0] for i in range(len(part)))
        seen = [each.tobytes().hex() if part.kind == "image" else str(each) for each in examples]
        labels = [part.class_names[label] if part.class_names else round(label, 3) for label in part.labels]
        found.setdefault(name if name in given else "train", []).extend(zip(seen, labels, strict=True))
    return {name: sorted(examples) for name, examples in found.items()}


def check(run: Run, data, tmp_path, **options) -> None:
    before = open_dataset(data, **SPLIT_OPTIONS, **options)
    wanted = decide(run, before)
    suffix = data.suffix if data.is_file() else ".zip"
    summary = export_run(run, "same", tmp_path / "out" / f"clean{suffix}")
    assert {name: (each["dropped"], each["relabelled"]) for name, each in summary.counts.items()} == dict.fromkeys(
        ("train", "validation", "test"), (1, 1)
    )
    path = unzipped(summary.path)
    if path.is_dir():
        (path / "provenance.json").unlink()
    given, left = list_examples(data, **options).parts, list_examples(path, **options).parts
    assert set(left) == set(given)
    assert contents(open_dataset(path, **options), given) == contents(wanted, given)


@pytest.mark.parametrize("form", FORMS)
def test_every_split_is_exported_in_its_format(tmp_path, form):
    data = FORMS[form](tmp_path)
    check(write_run(tmp_path / "run", data), data, tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES[:1])
def test_arrow_files_by_split(tmp_path, suffix):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count in (("train", 24), ("test", 8)):
        saved = save_dataset(tmp_path / name, count, first=100 * count)
        (saved / "data-00000-of-00001.arrow").rename(folder / f"{name}{suffix}")
    check(write_run(tmp_path / "run", folder), folder, tmp_path)


@pytest.mark.parametrize("form", ["csv", "parquet", "npz"])
def test_values_of_every_split_are_exported(tmp_path, form):
    prices = make_prices(48).drop(columns="original_label").assign(split=SPLITS)
    if form == "npz":
        values = prices[TARGET].to_numpy()
        data = write_npz(tmp_path, x_train=PIXELS[:40], y_train=values[:40], x_test=PIXELS[40:], y_test=values[40:])
        options = {"task": "regression"}
    else:
        data, options = write_table(prices, tmp_path / f"d.{form}"), {"target": TARGET}
    check(write_run(tmp_path / "run", data, **options), data, tmp_path, **options)


@pytest.fixture
def parted(tmp_path):
    """A run on images in three splits with the same ids."""
    data = FORMS["ids of one split in another"](tmp_path)
    return write_run(tmp_path / "parted", data)


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_other_formats_hold_every_split(tmp_path, parted, form):
    wanted = decide(parted, open_dataset(parted.manifest.dataset.location, **SPLIT_OPTIONS))
    out = export_run(parted, form, tmp_path / ("clean.zip" if form == "folder" else "clean.parquet")).path
    assert contents(open_dataset(unzipped(out)), SPLITS_GIVEN) == contents(wanted, SPLITS_GIVEN)


SPLITS_GIVEN = ("train", "validation", "test")


def test_the_list_has_the_decisions_about_every_split(tmp_path, parted, capsys):
    parted.decisions.record(["3"], "relabel", 0, "test")
    parted.decisions.record(["4", "5"], "drop", split="validation")
    assert main(["export", str(parted.path), "--format", "csv", "--out", str(tmp_path / "clean.csv")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Kept 32 training examples (0 relabeled), dropped 0; " in printed
    assert "kept 6 validation examples (0 relabeled), dropped 2; " in printed
    assert "kept 8 test examples (1 relabeled), dropped 0: " in printed
    listed = pd.read_csv(tmp_path / "clean.csv", keep_default_na=False)
    decided = listed[listed["action"] != ""]
    assert decided[["id", "split", "action"]].to_numpy().tolist() == [
        [4, "validation", "drop"],
        [5, "validation", "drop"],
        [3, "test", "relabel"],
    ]
    assert decided[["label", "label_in_data"]].iloc[-1].astype(str).tolist() == ["0", "1"]


def test_a_torch_dataset_is_cleaned_in_every_split(tmp_path):
    images = torch.from_numpy(PIXELS[:, None])
    whole = TensorDataset(images, torch.arange(N) % 2)
    data = {"train": torch.utils.data.Subset(whole, range(40)), "test": torch.utils.data.Subset(whole, range(40, N))}
    run = write_run(tmp_path / "run", data)
    run.decisions.record(["test/0"], "drop", split="test")
    run.decisions.record(["test/1"], "relabel", 0, "test")
    assert ac.cleaned_dataset(run, data, "test").targets == [0, 0, 1, 0, 1, 0, 1]
    assert ac.cleaned_dataset(run, data, "test").indices == list(range(1, 8))
    listed = pd.read_csv(export_run(run, "same", tmp_path / "clean.csv").path)
    assert listed[listed["split"] == "test"]["label"].tolist() == [0, 0, 1, 0, 1, 0, 1]


def test_examples_set_aside_are_listed_without_the_dropped_ones(tmp_path):
    data = write_table(make_table(), tmp_path / "d.csv")
    run = write_run(tmp_path / "run", data)
    gone, stays = run.evaluation["id"].iloc[:2]
    run.decisions.record([gone], "drop", split="validation")
    examples = export_run(run, "same", tmp_path / "clean.csv")
    listed = pd.read_json(f"{examples.path}.provenance.json", typ="series")["set_aside"]["validation"]
    assert stays in listed
    assert gone not in listed
