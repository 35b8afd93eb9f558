"""What nobody decided about is exported as it came, and what cannot be is said."""

import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from attribution_core.runs import Run
from tests.support.builders import encoded, write_folder
from tests.support.exports import PIXELS, N, unzipped, write_npz, write_run

LABELS = (np.arange(N) % 2).tolist()


def lines_of(rows: list[str], head: str = "") -> bytes:
    return (head + "".join(f"{row}\n" for row in rows)).encode()


CSV = lines_of(
    [
        f'{number:05d},{number}.50,{zip_},{code},NA,"{number}.10",cr\rhere,{label},False'
        for number, (zip_, code, label) in enumerate(
            (("02139", "1e5", "x"), ("00501", "2E3", "y"), ("10001", "", "x")) * 8
        )
    ],
    "id,a,zip,code,basement,price,note,label,flag\n",
)
JSON = lines_of(
    [
        f'{{"id": {number}, "a": 0.{number}603685410126095, "tiny": {number}.5e-13, '
        + ('"big": 9007199254740995, ' if number % 3 else "")
        + f'"label": "{"xy"[number % 2]}"}}'
        for number in range(24)
    ]
)
BOOLEANS = lines_of([f"{number}.5,{number % 2 == 0}" for number in range(24)], "a,label\n")


def exported(tmp_path, run: Run, data) -> bytes:
    out = tmp_path / f"clean{data.suffix}"
    out.unlink(missing_ok=True)
    return export_run(run, "same", out).path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", CSV),
        ("crlf.csv", CSV.replace(b"\n", b"\r\n")),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("semicolon.csv", CSV.replace(b",", b";")),
        ("wide.csv", b"\xff\xfe" + CSV.decode().encode("utf-16-le")),
        ("d.tsv", CSV.replace(b",", b"\t")),
        ("d.jsonl", JSON),
        ("bool.csv", BOOLEANS),
    ],
)
def test_rows_without_a_decision_are_copied(tmp_path, name, content):
    data = tmp_path / name
    data.write_bytes(content)
    run = write_run(tmp_path / "run", data)
    assert exported(tmp_path, run, data) == content
    ids, labels = run.examples["id"], run.examples["label"]
    run.decisions.record([ids[0]], "drop")
    run.decisions.record([ids[1]], "relabel", int(1 - labels[1]))
    encoding = "utf-16" if name == "wide.csv" else "utf-8"
    before, after = (each.decode(encoding).split("\n") for each in (content, exported(tmp_path, run, data)))
    assert len(after) == len(before) - 1
    changed = [line for line in after if line not in before]
    assert len(changed) == 1
    old, new = run.class_names[labels[1]], run.class_names[1 - labels[1]]
    assert any(changed[0] == line.replace(old, new) or changed[0] == new.join(line.rsplit(old, 1)) for line in before)


def test_files_of_splits_keep_their_names_and_bytes(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_bytes(CSV)
    (folder / "notes.md").write_text("about")
    run = write_run(tmp_path / "run", folder)
    run.decisions.record([run.examples["id"][0]], "drop")
    summary = export_run(run, "same", tmp_path / "clean.zip")
    with zipfile.ZipFile(summary.path) as archive:
        assert archive.namelist() == ["test.csv", "train.csv", "provenance.json"]
        assert archive.read("test.csv") == CSV
        assert len(archive.read("train.csv").split(b"\n")) == len(CSV.split(b"\n")) - 1
    assert any("notes.md" in note for note in summary.notes)


def test_examples_that_were_not_drawn_stay(tmp_path):
    data = tmp_path / "d.csv"
    data.write_bytes(CSV)
    run = write_run(tmp_path / "run", data, max_train=8)
    assert exported(tmp_path, run, data) == CSV
    record = json.loads((tmp_path / "clean.csv.provenance.json").read_text())
    assert any("were not scored" in note for note in record["notes"])
    assert set(record["set_aside"]) == {"validation", "test"}


def test_parquet_keeps_types_metadata_and_nested_columns(tmp_path):
    schema = pa.schema(
        [
            pa.field("small", pa.int8(), nullable=False, metadata={"unit": "mm"}),
            ("label", pa.dictionary(pa.int8(), pa.string())),
            ("tags", pa.list_(pa.string())),
            ("box", pa.struct([("x", pa.int16())])),
            ("maybe", pa.int32()),
        ],
        metadata={"made by": "hand"},
    )
    rows = [
        {"small": i, "label": "xy"[i % 2], "tags": ["t"] * (i % 3), "box": {"x": i}, "maybe": i if i % 2 else None}
        for i in range(24)
    ]
    data = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema), data, row_group_size=7)
    run = write_run(tmp_path / "run", data)
    assert exported(tmp_path, run, data) == data.read_bytes()
    dropped, relabelled = (int(id_.rpartition("-")[2]) for id_ in run.examples["id"][:2])
    run.decisions.record([run.examples["id"][0]], "drop")
    run.decisions.record([run.examples["id"][1]], "relabel", int(1 - run.examples["label"][1]))
    exported(tmp_path, run, data)
    after = pq.ParquetFile(tmp_path / "clean.parquet").read()
    assert after.schema.equals(pq.read_schema(data), check_metadata=True)
    rows[relabelled]["label"] = "xy"[1 - relabelled % 2]
    assert after.to_pylist() == [row for i, row in enumerate(rows) if i != dropped]


def test_an_archive_keeps_further_arrays(tmp_path):
    names = np.array([{"any": "object"}], dtype=object)
    data = write_npz(
        tmp_path, x_train=PIXELS[:40], y_train=np.array(LABELS[:40], dtype=np.int16), train_ids=np.arange(40),
        x_test=PIXELS[40:], y_test=np.array(LABELS[40:], dtype=np.int16), scale=np.float32(0.1), weights=np.ones(40),
        names=names,
    )  # fmt: skip
    run = write_run(tmp_path / "run", data)
    exported(tmp_path, run, data)
    with zipfile.ZipFile(data) as before, zipfile.ZipFile(tmp_path / "clean.npz") as after:
        assert {name: after.read(name) for name in after.namelist()} == {
            name: before.read(name) for name in before.namelist()
        }
    run.decisions.record([run.examples["id"][0]], "drop")
    dropped = int(run.examples["id"][0].rpartition("-")[2])
    summary = export_run(run, "same", tmp_path / "less.npz")
    with np.load(summary.path) as after:
        assert after["train_ids"].tolist() == [i for i in range(40) if i != dropped]
        assert after["y_train"].dtype == np.int16
        assert (len(after["weights"]), after["scale"].dtype) == (40, np.float32)
    assert any("weights" in note for note in summary.notes)
    assert any("names" in note and "Python objects" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["Cat", "cat", "cat ", "dog"], {"cat": "cat-2", "cat ": "cat-3"}),
        (["CON", "a:b", "aux.", "x?y"], {"CON": "_CON", "a:b": "a_b", "aux.": "_aux", "x?y": "x_y"}),
        (["n" * 200, "dog"], {"n" * 200: "n" * 150}),
    ],
)
def test_renamed_classes_are_said(tmp_path, capsys, classes, folders):
    data = write_folder(tmp_path / "data", dict.fromkeys(classes, 9))
    run = write_run(tmp_path / "run", data)
    for format_ in ("same", "folder"):
        out = tmp_path / f"{format_}.zip"
        assert main(["export", str(run.path), "--format", format_, "--out", str(out)]) == 0
        with zipfile.ZipFile(out) as archive:
            assert json.loads(archive.read("provenance.json"))["renamed"]["classes"] == folders
        told = capsys.readouterr().out
        assert "renames classes" in told
        assert next(iter(folders.values())) in told


def export_panel(path: str) -> None:
    from pathlib import Path

    from attribution_core.runs import Run
    from samplescope_app.panels import export

    export.panel(Run.open(Path(path)))


def test_the_page_says_what_was_renamed(tmp_path):
    run = write_run(tmp_path / "run", write_folder(tmp_path / "data", {"CON": 9, "dog": 9}))
    app = AppTest.from_function(export_panel, default_timeout=30, args=(str(run.path),))
    app.session_state["export format"] = "same"
    app.run()
    app.button[0].click().run()
    assert not app.exception
    assert any("renames classes" in note.value and "CON" in note.value for note in app.info)


def test_images_keep_their_bytes_paths_and_names(tmp_path):
    data = write_folder(tmp_path / "data", {"cat/inner": 10, "dog": 10})
    (data / "dog" / "0.jpg").write_bytes(encoded(99, form="JPEG"))
    run = write_run(tmp_path / "run", data)
    files = {file.relative_to(data).as_posix(): file.read_bytes() for file in data.rglob("*.*")}
    out = export_run(run, "same", tmp_path / "clean.zip").path
    with zipfile.ZipFile(out) as archive:
        assert {name: archive.read(name) for name in archive.namelist() if name != "provenance.json"} == files
    moved = next(id_ for id_ in run.examples["id"] if id_.startswith("dog/"))
    run.decisions.record([moved], "relabel", 0)
    again = unzipped(export_run(run, "same", tmp_path / "moved.zip").path)
    assert (again / moved.replace("dog", "cat", 1)).read_bytes() == files[moved]
    assert not (again / moved).exists()


def test_lines_keep_their_bytes(tmp_path):
    data = tmp_path / "d"
    data.mkdir()
    contents = {
        name: "\r\n".join(f" {word} film {i}\u2028 " for i in range(12)).encode()
        for name, word in (("good", "a warm"), ("bad", "a dull"))
    }
    for name, content in contents.items():
        (data / f"{name}.txt").write_bytes(content)
    run = write_run(tmp_path / "run", data)
    kept = unzipped(export_run(run, "same", tmp_path / "same.zip").path)
    assert {name: (kept / f"{name}.txt").read_bytes() for name in contents} == contents
    moved = next(id_ for id_ in run.examples["id"] if id_.startswith("good"))
    run.decisions.record([moved], "relabel", run.class_names.index("bad"))
    line = contents["good"].split(b"\r\n")[int(moved.rpartition(":")[2]) - 1]
    again = unzipped(export_run(run, "same", tmp_path / "moved.zip").path)
    assert line not in (again / "good.txt").read_bytes().split(b"\r\n")
    assert (again / "bad.txt").read_bytes() == contents["bad"] + b"\r\n" + line + b"\r\n"


def test_an_unwritable_export_is_refused_in_one_sentence(tmp_path):
    data = tmp_path / "d.csv"
    data.write_bytes(CSV)
    run = write_run(tmp_path / "run", data)
    data.write_bytes(CSV.replace(b"02139", b"02138"))
    with pytest.raises(InputError, match="are not those that were scored"):
        export_run(run, "same", tmp_path / "clean.csv")
    data.write_bytes(CSV)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_run(run, "same", tmp_path / "file" / "clean.csv")
