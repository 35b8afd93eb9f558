"""Manifests as users write them, whole and faulty."""

import os

import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.formats import manifest
from attribution_core.errors import InputError
from tests.support.builders import encoded, write_manifest

N = 20


def rows(folder, **columns):
    """Twenty images below ``pictures``, and a row for each."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for i in range(N):
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(i))
    columns = {"path": [f"pictures/{i}.png" for i in range(N)], "label": ["cat", "dog"] * 10, **columns}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_images_labels_splits_and_groups(tmp_path, suffix):
    split = ["train"] * 12 + ["val"] * 4 + ["TEST"] * 4
    table = rows(tmp_path, split=split, camera=["Nikon, é", ""] * 10, weight=[0.5, 2] * 10, code=["007", "8"] * 10)
    splits = open_dataset(write_manifest(tmp_path / f"list{suffix}", table))
    assert [len(part) for part in splits] == [12, 4, 4]
    assert splits.train.class_names == ["cat", "dog"]
    assert splits.train.ids[3] == "pictures/3.png"
    for i in range(12):
        assert splits.train.source(i) == encoded(i)
        assert splits.train[i][1] == i % 2
    groups = splits.train.groups
    assert list(groups) == ["camera", "weight", "code"]
    assert groups["camera"].tolist()[0] == "Nikon, é"
    assert groups["camera"].isna().tolist() == [False, True] * 6
    assert groups["weight"].tolist() == [0.5, 2.0] * 6
    assert groups["code"].tolist() == ["007", "8"] * 6


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_whole_numbers_are_classes_in_the_order_of_their_size(tmp_path, suffix):
    table = rows(tmp_path, label=[2, 10] * 10, original_label=[2, 2] * 10)
    train = open_dataset(write_manifest(tmp_path / f"list{suffix}", table)).train
    assert train.class_names == ["2", "10"]
    assert set(train.groups["original_label"]) == {"2"}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize(
    ("labels", "task", "names"),
    [
        ([1.5 * i for i in range(N)], "auto", []),
        ([1.0, 2.0] * 10, "classification", {".csv": ["1.0", "2.0"], ".jsonl": ["1", "2"]}),
        ([1, 2] * 10, "regression", []),
        (["007", "8"] * 10, "auto", ["007", "8"]),
        (["007", "8"] * 10, "regression", []),
    ],
)
def test_numbers_are_values_and_few_whole_ones_classes(tmp_path, suffix, labels, task, names):
    table = rows(tmp_path, label=labels, original_label=labels)
    train = open_dataset(write_manifest(tmp_path / f"list{suffix}", table), task=task).train
    assert train.class_names == (names[suffix] if isinstance(names, dict) else names)
    if not names:
        found = dict(zip(train.ids, train.labels, strict=True))
        assert found == {path: float(labels[int(path[9:-4])]) for path in found}
        assert train.groups["original_label"].tolist() == train.labels.tolist()
        assert train.values.name == "label"


def test_many_whole_numbers_are_classes_by_default(tmp_path):
    table = [{**row, "path": f"{path}/{row['path']}"} for path in "ab" for row in rows(tmp_path / path)]
    table = [{"path": row["path"], "Target": number} for number, row in enumerate(table)]
    path = write_manifest(tmp_path / "list.csv", table)
    assert open_dataset(path, task="regression").train.values.name == "Target"
    with pytest.raises(
        InputError, match="enough examples to set one aside, but this one has 40 training examples in 40 classes"
    ):
        open_dataset(path)


@pytest.mark.parametrize(
    ("label", "task", "message"),
    [
        ("inf", "auto", r"column label must hold finite numbers, but that of row pictures/4\.png is not"),
        ("1e999", "auto", r"finite numbers.* row pictures/4\.png is not"),
        ("much", "regression", r"must hold numbers .* row pictures/4\.png holds 'much'"),
        ("0.25", "classification", "column label must hold classes"),
    ],
)
def test_faulty_values_are_refused_in_one_sentence(tmp_path, label, task, message):
    labels = [0.5 * i for i in range(N)]
    path = write_manifest(tmp_path / "list.csv", rows(tmp_path, label=[*labels[:4], label, *labels[5:]]))
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(path, task=task)
    assert "\n" not in str(caught.value)


def test_names_of_columns_and_ids_and_absolute_paths(tmp_path):
    table = rows(tmp_path / "far", id=[f"x{i}" for i in range(N)], deep=[{"a": 1}] * N, good=[True, False] * 10)
    absolute = [
        {"File_Name": str(tmp_path / "far" / row.pop("path")), "Class": row.pop("label"), **row} for row in table
    ]
    (tmp_path / "list").mkdir()
    train = open_dataset(write_manifest(tmp_path / "list" / "all.jsonl", absolute)).train
    assert set(train.ids) < {f"x{i}" for i in range(N)}
    assert list(train.groups) == ["good"]
    assert train.groups["good"].dtype == bool
    relative = [{**row, "File_Name": "../far/" + row["File_Name"].split("/far/")[1]} for row in absolute]
    assert open_dataset(write_manifest(tmp_path / "list" / "up.jsonl", relative)).train[0][0].size == (8, 8)


def test_missing_files_are_listed(tmp_path):
    table = rows(tmp_path)
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    places = ["nowhere.png", "loop.png", "pipe.png", "broken.png", "pictures", "nul\0l.png", "x" * 300]
    for row, place in zip(table, places, strict=False):
        row["path"] = place
    splits = open_dataset(write_manifest(tmp_path / "list.jsonl", table))
    why = {item.where: item.why for item in splits.unreadable}
    assert set(why) == set(places)
    assert "No such file" in why["nowhere.png"]
    assert "symbolic links" in why["loop.png"]
    assert why["pipe.png"] == why["pictures"] == "it is not a regular file"
    assert "not an image" in why["broken.png"]
    assert sum(map(len, splits)) == N - len(places)


def _columns_without_labels(table):
    return [{"path": row["path"], "animal": row["label"]} for row in table]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_columns_without_labels, r"needs a column called label, class, target or y.*its columns are animal.*--target"),
        (lambda table: [{**row, "label": " "} for row in table], "training rows need labels, but all 20 are empty"),
        (lambda table: [{**row, "split": "holdout"} for row in table], r"line 2 holds 'holdout'"),
        (lambda table: [*table, {**table[3], "path": "pictures/../pictures/3.png"}], r"lines 5 and 22 both name"),
        (lambda table: [*table, {**table[3], "path": ""}], r"column path, but line 22"),
        (lambda table: [{**table[0], "path": "none.png"}, *({**r, "path": f"no{i}"} for i, r in enumerate(table))],
         "column path must name images, but none of its 21 was found: neither .*none.png"),
    ],
)  # fmt: skip
def test_faulty_rows_are_refused_in_one_sentence(tmp_path, change, message):
    path = write_manifest(tmp_path / "list.csv", change(rows(tmp_path)))
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)


def test_faulty_json_is_named_by_its_line(tmp_path):
    path = write_manifest(tmp_path / "list.jsonl", rows(tmp_path))
    whole = path.read_text()
    for extra, message in [
        ("{bad", "must hold JSON in line 41"),
        ("[1]", "must hold a JSON object in line 41"),
        ('{"path": "x.png", "label": 1.5}', r"line 41 .* has 1\.5"),
        ('{"path": "x.png", "label": true}', "line 41 .* has True"),
        ('{"path": "x.png", "label": ["cat"]}', r"line 41 .* has \['cat'\]"),
        ('{"path": 3, "label": "cat"}', "column path, but line 41"),
    ]:
        path.write_text(whole + extra + "\n")
        with pytest.raises(InputError, match=message):
            open_dataset(path)


def test_faulty_csv_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    for data, message in [
        (b"path,label\na.png,caf\xe9\n", r"must be UTF-8.*byte 20"),
        (b"path,label\na.png,cat,1\n", "Line 2 of .* must have 2 cells.*it has 3"),
        (b"path,label,label\n", "two are called 'label'"),
        (b'path,label\n"a.png,cat\n', "none of its 1 was found"),
        (b"path,label\n", "it has none"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_dataset(path)


def test_texts_and_tables_are_not_manifests(tmp_path):
    for name, text in [
        ("a.csv", "text,label\nhello,1\n"),
        ("b.csv", "1,2\n3,4\n"),
        ("c.jsonl", '{"text": "x", "label": 1}\n'),
        ("d.jsonl", "{bad\n"),
        ("e.csv", ""),
        ("f.txt", "path,label\n"),
    ]:
        (tmp_path / name).write_text(text)
        assert not manifest.recognizes(tmp_path / name)
    assert not manifest.recognizes(tmp_path)
