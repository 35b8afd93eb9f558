"""Exports hold the decisions, can be read back, and cannot write outside their folder."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.export.csv_list import selected_list
from attribution_core.export.export import export_run
from attribution_core.progress import listening
from attribution_core.runs import DatasetSummary, Run, RunWriter
from tests.support.exports import SPLIT_OPTIONS, write_reviewed_run

CLASSES = ["kätze 猫", "dog"]


@pytest.fixture
def reviewed(tmp_path) -> Run:
    """A run on a folder of 40 images, with one dropped, one kept and one relabeled."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"=image {i}.{'jpg' if i % 2 else 'png'}")
    return write_reviewed_run(tmp_path / "run", folder)


def labels_by_name(split) -> dict[str, str]:
    return {Path(id_).name: split.class_names[label] for id_, label in zip(split.ids, split.labels, strict=True)}


def pixels_of(split) -> dict[bytes, str]:
    return {split[i][0].tobytes(): split.class_names[split.labels[i]] for i in range(len(split))}


def test_csv_lists_every_example_with_its_decision(tmp_path, reviewed):
    summary = export_run(reviewed, "csv", tmp_path / "clean.csv")
    n = len(reviewed.examples)
    assert (summary.kept, summary.dropped, summary.relabelled) == (n - 1, 1, 1)
    frame = pd.read_csv(summary.path, keep_default_na=False)
    held_out = reviewed.evaluation
    assert frame["action"].tolist() == ["drop", "keep", "relabel"] + [""] * (n - 3 + len(held_out))
    assert frame["id"].tolist() == [*reviewed.examples["id"], *held_out["id"]]
    assert frame["split"].tolist() == ["train"] * n + held_out["split"].tolist()
    assert frame["label"][2] != frame["label_in_data"][2]
    assert float(frame["fsi"].iloc[0]) == -1.0
    assert frame["fsi"].eq("").tolist() == [False] * n + [True] * len(held_out)  # which only training examples have
    provenance = json.loads((tmp_path / "clean.csv.provenance.json").read_text(encoding="utf-8"))
    assert provenance["counts"] == {"kept": n - 1, "dropped": 1, "relabelled": 1}
    assert provenance["fingerprints"]["dataset"] == reviewed.manifest.dataset.fingerprint
    assert [each["action"] for each in provenance["decisions"]] == ["drop", "keep", "relabel"]


def test_csv_has_reviewers_tags_and_notes(tmp_path, reviewed):
    first, second = reviewed.examples["id"][:2]
    test = reviewed.evaluation.query("split == 'test'")["id"].iloc[0]
    reviewed.decisions.record([first], "drop", reviewer="=ann")
    reviewed.decisions.annotations.tag([("train", second), ("test", test)], "odd")
    reviewed.decisions.annotations.tag([("train", second)], "dark")
    reviewed.decisions.annotations.note([("test", test)], "=HYPERLINK(1)")
    frame = pd.read_csv(export_run(reviewed, "csv", tmp_path / "clean.csv").path, keep_default_na=False)
    assert list(frame.columns[-4:]) == ["split", "reviewer", "tags", "note"]
    frame = frame.set_index(["split", "id"])
    assert frame.loc[("train", first), "reviewer"] == "'=ann"
    assert frame.loc[("train", second), "tags"] == "dark;odd"
    assert frame.loc[("test", test), ["tags", "note"]].tolist() == ["odd", "'=HYPERLINK(1)"]
    assert (frame["tags"] != "").sum() == 2
    provenance = json.loads((tmp_path / "clean.csv.provenance.json").read_text(encoding="utf-8"))
    assert [each.get("reviewer") for each in provenance["decisions"]] == ["=ann", None, None]


def test_some_examples_are_listed_with_their_suggestions(reviewed):
    n = len(reviewed.examples)
    frame = pd.read_csv(io.StringIO(selected_list(reviewed, np.array([n, 2]))), keep_default_na=False)
    assert frame["split"].tolist() == [reviewed.evaluation["split"].iloc[0], "train"]
    assert frame["action"].tolist() == ["", "relabel"]
    assert len(frame.columns) == len(set(frame.columns))
    assert set(reviewed.scores) <= set(frame.columns)


def test_csv_cells_are_not_formulas(tmp_path):
    names = ["=1+1", "@SUM(A1)"]
    ids = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\ty", "\rz", "plain", "a=b"]
    with RunWriter.start(tmp_path / "run", {}, "f", "formulas") as writer:
        labels = np.arange(8) % 2
        table = pd.DataFrame({"id": ids, "label": labels, "loss": np.linspace(-1, 1, 8)})
        writer.write_table("examples", table)
        writer.write_table("evaluation", table.head(0).assign(split=""))
        summary = DatasetSummary(
            name="x", location="", class_names=names, sizes={"train": 8}, mode="L", fingerprint="f"
        )
        writer.update(dataset=summary)
    out = export_run(Run.open(tmp_path / "run"), "csv", tmp_path / "out.csv").path
    frame = pd.read_csv(out, keep_default_na=False)
    assert [cell[1:] if cell.startswith("'") else cell for cell in frame["id"]] == ids
    assert sum(cell.startswith("'") for cell in frame["id"]) == 6
    assert set(frame["label"]) == {"'=1+1", "'@SUM(A1)"}
    assert frame["loss"].iloc[0] == -1.0


@pytest.mark.parametrize(("format_", "name"), [("parquet", "clean.parquet"), ("folder", "clean.zip")])
def test_images_are_read_back_with_the_decisions_applied(tmp_path, reviewed, format_, name):
    before = open_dataset(reviewed.manifest.dataset.location, **SPLIT_OPTIONS)
    seen = []
    with listening(lambda *args: seen.append(args)):
        summary = export_run(reviewed, format_, tmp_path / name)
    where = summary.path
    if format_ == "folder":
        where = tmp_path / "unzipped"
        zipfile.ZipFile(summary.path).extractall(where)
    after = open_dataset(where)
    assert len(after.train) == len(before.train) - 1 == summary.kept
    assert pixels_of(after.validation) == pixels_of(before.validation)
    assert pixels_of(after.test) == pixels_of(before.test)
    expected = pixels_of(before.train)
    expected.pop(before.train[0][0].tobytes())
    expected[before.train[2][0].tobytes()] = before.train.class_names[1 - before.train.labels[2]]
    assert pixels_of(after.train) == expected
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][2] == "export"


def test_a_folder_export_keeps_the_original_bytes(tmp_path, reviewed):
    out = export_run(reviewed, "folder", tmp_path / "clean.zip").path
    folder = Path(reviewed.manifest.dataset.location)
    originals = {file.read_bytes() for file in folder.rglob("*.*")}
    with zipfile.ZipFile(out) as archive:
        members = [name for name in archive.namelist() if name != "provenance.json"]
        assert {archive.read(name) for name in members} <= originals
        assert json.loads(archive.read("provenance.json"))["format"] == "folder"
        assert any("kätze 猫" in name for name in members)


def test_parquet_keeps_ids_and_holds_its_features_and_provenance(tmp_path, reviewed):
    out = export_run(reviewed, "parquet", tmp_path / "clean.parquet").path
    metadata = pq.read_schema(out).metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": sorted(CLASSES), "_type": "ClassLabel"}
    assert json.loads(metadata[b"samplescope"])["counts"]["dropped"] == 1
    assert set(open_dataset(out).train.ids) < set(reviewed.examples["id"])


def test_names_cannot_leave_the_zip(tmp_path):
    hostile = ["../../etc", "C:\\windows", "/root", "con", "..", "a\x00b\nc", "A B. ", "a b"]
    rng = np.random.default_rng(0)
    rows = []
    for label in range(len(hostile)):
        for i in range(6):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
            rows.append((buffer.getvalue(), label, f"../{label}/{i}/x.png"))
    images, labels, ids = zip(*rows, strict=True)
    table = pd.DataFrame({"image": [{"bytes": b, "path": "x"} for b in images], "label": labels, "id": ids})
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    features = {"image": {"_type": "Image"}, "label": {"names": hostile, "_type": "ClassLabel"}}
    arrow = arrow.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(arrow, tmp_path / "hostile.parquet")
    run = write_reviewed_run(tmp_path / "run", tmp_path / "hostile.parquet")
    out = export_run(run, "folder", tmp_path / "clean.zip").path
    members = zipfile.ZipFile(out).namelist()
    assert len({name.casefold() for name in members}) == len(members)
    for name in members:
        parts = name.split("/")
        assert name == "provenance.json" or (len(parts) == 3 and parts[0] in ("train", "validation", "test"))
        assert not any(part in ("", ".", "..", "con") or set(part) & set("\\:\x00\n") for part in parts)
    assert len({name.split("/")[1] for name in members if "/" in name}) == len(hostile)


def test_changed_data_are_refused_with_both_fingerprints(tmp_path, reviewed):
    victim = next(Path(reviewed.manifest.dataset.location).rglob("*.png"))
    Image.new("RGB", (12, 12)).save(victim)
    with pytest.raises(InputError, match="are not those that were scored") as error:
        export_run(reviewed, "parquet", tmp_path / "clean.parquet")
    assert reviewed.manifest.dataset.fingerprint[:12] in str(error.value)
    assert not (tmp_path / "clean.parquet").exists()


def test_moved_data_are_found_at_the_given_location(tmp_path, reviewed):
    moved = tmp_path / "moved"
    Path(reviewed.manifest.dataset.location).rename(moved)
    with pytest.raises(InputError, match="There is no file or folder"):
        export_run(reviewed, "folder", tmp_path / "clean.zip")
    assert export_run(reviewed, "folder", tmp_path / "clean.zip", data=str(moved)).dropped == 1


def test_an_existing_file_is_not_overwritten(tmp_path, reviewed):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        export_run(reviewed, "csv", tmp_path / "mine.csv")
    with pytest.raises(InputError, match="csv, parquet, folder"):
        export_run(reviewed, "xlsx", tmp_path / "new.xlsx")
