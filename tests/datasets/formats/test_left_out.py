"""Rows without a label and nested columns are left out, named and counted in the same way in every format of rows."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution_core.datasets import list_examples, open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from tests.support.builders import encoded, write_manifest, write_parquet
from tests.support.exports import write_run
from tests.support.tables import make_texts

N = 24
WORDS = ["x", "y"] * (N // 2)
VALUES = [0.37 * row for row in range(N)]
TABLES = (".csv", ".tsv", ".jsonl", ".parquet", " with semicolons.csv", " utf-16.csv")
FORMATS = (*TABLES, "list.csv", "list.jsonl", "images.parquet", "saved")


def without(values, *rows, empty=None):
    return [empty if row in rows else value for row, value in enumerate(values)]


def write(folder, form, labels, **columns):
    """Write labeled rows, or images with labels, in a format."""
    folder.mkdir(exist_ok=True)
    columns = {"a": [row / 4 for row in range(len(labels))], "label": labels, **columns}
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if form == "saved":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(rows).save_to_disk(folder / form)
        return folder / form
    if form == "images.parquet":
        return write_parquet(folder / form, labels, source=["web"] * len(labels))
    if form.startswith("list."):
        for row, each in enumerate(rows):
            (folder / f"{row}.png").write_bytes(encoded(row))
            each["path"] = f"{row}.png"
        return write_manifest(folder / form, rows)
    path = folder / f"d{form}"
    if form == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif form == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        delimiter = "\t" if form == ".tsv" else ";" if "semicolons" in form else ","
        cells = [list(columns), *(["" if cell is None else str(cell) for cell in row.values()] for row in rows)]
        text = "".join(delimiter.join(row) + "\n" for row in cells)
        path.write_text(text.replace(".", ",") if delimiter == ";" else text, "utf-16" if "utf-16" in form else "utf-8")
    return path


def place(form, row):
    """Return how a row is called: by its line in a file of text, by its number elsewhere."""
    if form in (".parquet", "images.parquet", "saved"):
        return f"row {row}"
    return f"line {1 + 2 * row if form == 'list.jsonl' else 1 + row if form == '.jsonl' else 2 + row}"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("labels", [WORDS, VALUES, [row % 3 for row in range(N)]])
def test_rows_without_a_label_are_left_out_and_named(tmp_path, form, labels):
    listing = list_examples(write(tmp_path, form, without(labels, 2, 5)))
    assert (
        f"2 of the 24 rows have no label in the column label and were left out: {place(form, 2)} and {place(form, 5)}."
        in [note.replace("train rows", "rows") for note in listing.notes]
    )
    train = listing.parts["train"]
    assert train.rows.tolist() == [row for row in range(N) if row not in (2, 5)]
    whole = list_examples(write(tmp_path / "whole", form, labels))
    assert listing.class_names == whole.class_names
    assert train.labels.tolist() == pytest.approx(whole.parts["train"].labels[train.rows].tolist())
    assert train.ids == [whole.parts["train"].ids[row] for row in train.rows]


@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl", ".parquet", "list.csv", "images.parquet"])
@pytest.mark.parametrize("empty", [" ", ""])
def test_texts_of_spaces_are_no_labels(tmp_path, form, empty):
    listing = list_examples(write(tmp_path, form, without(WORDS, 3, empty=empty)))
    assert len(listing.parts["train"].ids) == N - 1
    assert f"left out: {place(form, 3)}." in " ".join(listing.notes)


@pytest.mark.parametrize("form", TABLES)
@pytest.mark.parametrize("mark", ["NA", "nan", "-"])
def test_marks_of_missing_values_are_no_values(tmp_path, form, mark):
    labels = [str(value) for value in without(VALUES, 3, empty=mark)]
    listing = list_examples(write(tmp_path, form, labels))
    assert not listing.class_names
    assert f"left out: {place(form, 3)}." in " ".join(listing.notes)


@pytest.mark.parametrize("form", [".parquet", "images.parquet"])
def test_a_value_that_is_no_number_is_missing(tmp_path, form):
    listing = list_examples(write(tmp_path, form, without(VALUES, 3, empty=float("nan"))))
    assert f"left out: {place(form, 3)}." in " ".join(listing.notes)


@pytest.mark.parametrize("form", FORMATS)
def test_without_any_label_the_data_are_refused(tmp_path, form):
    with pytest.raises(InputError, match="training rows need labels, but all 24 are empty or -1 in the column label"):
        open_dataset(write(tmp_path, form, [None] * N))


@pytest.mark.parametrize("form", [".csv", ".jsonl", "list.csv"])
def test_many_rows_without_a_label_are_counted(tmp_path, form):
    listing = list_examples(write(tmp_path, form, without(WORDS, *range(2, 18))))
    named = ", ".join(place(form, row) for row in range(2, 6))
    assert f"16 of the 24 rows have no label in the column label and were left out: {named} and 12 more." in [
        note.replace("train rows", "rows") for note in listing.notes
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("hidden", [-1, None, "no column"])
def test_a_split_without_labels_is_left_out(tmp_path, suffix, hidden):
    train, test = write(tmp_path, suffix, [0, 1] * 12), tmp_path / f"test{suffix}"
    train.rename(tmp_path / f"train{suffix}")
    write(tmp_path, suffix, [hidden] * 6).rename(test)
    if hidden == "no column":
        if suffix == ".parquet":
            pq.write_table(pq.read_table(test).drop_columns(["label"]), test)
        elif suffix == ".jsonl":
            test.write_text("".join(json.dumps({"a": row}) + "\n" for row in range(6)))
        else:
            test.write_text("a\n" + "1\n" * 6)
    listing = list_examples(tmp_path)
    assert {split: len(part.ids) for split, part in listing.parts.items()} == {"train": 24}
    assert "All 6 test rows have no label in the column label and were left out." in listing.notes


@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl", " with semicolons.csv", " utf-16.csv", "list.csv"])
def test_an_export_keeps_rows_without_a_label(tmp_path, form):
    data = write(tmp_path, form, without(WORDS, 2, 5))
    run = write_run(tmp_path / "run", data)
    out = tmp_path / f"out{data.suffix}"
    assert export_run(run, "same", out).path.read_bytes() == data.read_bytes()
    out.unlink()
    dropped = run.examples["id"][0]
    run.decisions.record([dropped], "drop")
    export_run(run, "same", out)
    opened = list_examples(out)
    assert " ".join(opened.notes).count("have no label") == 1
    assert set(list_examples(data).parts["train"].labels.tolist()) == {0, 1}
    encoding = "utf-16" if "utf-16" in form else "utf-8"
    before, after = (path.read_text(encoding).split("\n") for path in (data, out))
    assert len(after) == len(before) - 1
    assert set(after) <= set(before)


def test_an_export_copies_a_file_without_labels(tmp_path):
    data = tmp_path / "d"
    write(data, ".csv", WORDS).rename(data / "train.csv")
    (data / "test.csv").write_text("a\n1\n2\n")
    run = write_run(tmp_path / "run", data)
    run.decisions.record([run.examples["id"][0]], "drop")
    out = tmp_path / "out.zip"
    export_run(run, "same", out)
    with zipfile.ZipFile(out) as archive:
        assert archive.read("test.csv") == b"a\n1\n2\n"
        assert len(archive.read("train.csv").split(b"\n")) == N + 1


# -- nested columns --------------------------------------------------------------------------------------------------


def nested(count):
    return {
        "tags": [["p", "q"] if row else None for row in range(count)],
        "about": [{"k": {"v": row}} for row in range(count)],
    }


@pytest.mark.parametrize("form", [".jsonl", "list.jsonl", ".parquet"])
def test_nested_columns_are_left_aside_and_named(tmp_path, form):
    listing = list_examples(write(tmp_path, form, WORDS, **nested(N)))
    notes = " ".join(listing.notes)
    assert "The columns " in notes
    assert "hold lists or structures and were left aside." in notes
    assert {"tags", "about"} <= set(notes.replace(",", " ").split())
    assert not {"tags", "about"} & set(listing.parts["train"].groups)


def test_a_column_that_is_nested_in_one_file_is_left_aside_in_all(tmp_path):
    frame = make_texts(20)
    frame.assign(more="").to_json(tmp_path / "train.jsonl", orient="records", lines=True)
    frame.assign(more=[["a"]] * 20).to_json(tmp_path / "test.jsonl", orient="records", lines=True)
    listing = list_examples(tmp_path)
    assert "The column more holds lists or structures and was left aside." in listing.notes


def test_nested_columns_stay_in_an_export(tmp_path):
    data = write(tmp_path, ".jsonl", WORDS, **nested(N))
    run = write_run(tmp_path / "run", data)
    run.decisions.record([run.examples["id"][0]], "relabel", int(1 - run.examples["label"][0]))
    before, after = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (data, export_run(run, "same", tmp_path / "out.jsonl").path)
    )
    changed = [row for row in range(N) if before[row] != after[row]]
    assert len(changed) == 1
    assert {**after[changed[0]], "label": None} == {**before[changed[0]], "label": None}


def test_a_nested_target_is_refused(tmp_path):
    data = write(tmp_path, ".jsonl", [[label] for label in WORDS], kind=WORDS)
    with pytest.raises(InputError, match=r"column label must hold .*, but it holds lists.*among a, kind"):
        open_dataset(data)
    assert list_examples(data, target="kind").class_names == ["x", "y"]


def test_a_table_of_nested_columns_alone_is_refused(tmp_path):
    rows = [{"label": label, "messages": [{"role": "user"}]} for label in WORDS]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="none beside messages, of lists or structures: write their values"):
        open_dataset(tmp_path / "d.jsonl")
