"""Parquet files as the Hugging Face hub and pandas write them."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution_core.datasets import list_examples, open_dataset
from attribution_core.errors import InputError
from tests.support.arrow import IMAGE, images, named, write
from tests.support.builders import encoded, write_folder, write_parquet

LABELS = [0, 1] * 10


def all_ids(splits):
    return sorted(identity for split in splits for identity in split.ids)


def test_class_names_come_from_the_hugging_face_metadata(tmp_path):
    splits = open_dataset(write_parquet(tmp_path / "d.parquet", LABELS, names=["cat", "dog"]))
    assert splits.train.class_names == ["cat", "dog"]
    assert [len(split) for split in splits] == [14, 3, 3]
    assert splits.train.source(0) == encoded(int(splits.train.ids[0].removeprefix("row-")))


def test_string_labels_are_their_own_names(tmp_path):
    splits = open_dataset(write_parquet(tmp_path / "d.parquet", ["dog", "cat"] * 10))
    assert splits.train.class_names == ["cat", "dog"]
    row = int(splits.train.ids[0].removeprefix("row-"))
    assert splits.train.labels[0] == (row + 1) % 2


def test_integer_labels_without_names_are_named_by_their_numbers(tmp_path):
    assert open_dataset(write_parquet(tmp_path / "d.parquet", [3, 7] * 10)).train.class_names == ["3", "7"]


def test_categories_of_pandas_are_read(tmp_path):
    path = write_parquet(tmp_path / "d.parquet", ["a", "b"] * 10)
    table = pq.read_table(path)
    label = table["label"].dictionary_encode()
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", label), path)
    assert open_dataset(path).train.class_names == ["a", "b"]


def test_columns_are_found_by_their_kind(tmp_path):
    path = write_parquet(tmp_path / "d.parquet", LABELS, names=["cat", "dog"])
    table = pq.read_table(path)
    metadata = table.schema.metadata[b"huggingface"].replace(b'"image"', b'"img"').replace(b'"label"', b'"animal"')
    table = table.rename_columns(["img", "animal"]).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, path)
    assert open_dataset(path).train.class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    "files",
    [
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("train.parquet", "val.parquet", "test.parquet"),
        ("train/0000.parquet", "validation/0000.parquet", "test/0000.parquet"),
        ("data/train-0.parquet", "data/valid-0.parquet", "data/test-0.parquet"),
    ],
)
def test_file_names_give_the_splits(tmp_path, files):
    for file, count in zip(files, (10, 6, 4), strict=True):
        write_parquet(tmp_path / file, [0, 1] * (count // 2))
    splits = open_dataset(tmp_path)
    assert [len(split) for split in splits] == [10, 6, 4]
    assert splits.test.ids == [f"test-{row:06d}" for row in range(4)]


def test_several_files_of_a_split_are_read_in_the_order_of_their_names(tmp_path):
    for part in (1, 0):
        write_parquet(tmp_path / f"train-{part}.parquet", LABELS, part=[part] * 20)
    write_parquet(tmp_path / "test.parquet", LABELS, part=[9] * 20)
    splits = open_dataset(tmp_path)
    for identity, part in zip(splits.train.ids, splits.train.groups["part"], strict=True):
        assert part == (int(identity.removeprefix("train-")) >= 20)


def test_files_with_and_without_a_split_are_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", LABELS)
    write_parquet(tmp_path / "more.parquet", LABELS)
    with pytest.raises(InputError, match=r"more\.parquet does not"):
        open_dataset(tmp_path)


def test_the_folder_above_a_single_file_is_not_a_split(tmp_path):
    assert len(open_dataset(write_parquet(tmp_path / "test" / "d.parquet", LABELS)).train) == 14


def test_several_configurations_are_refused_by_name(tmp_path):
    for name in ("pets", "birds"):
        write_parquet(tmp_path / name / "train.parquet", LABELS)
    with pytest.raises(InputError, match=r"holds 2, in birds, pets: give the path of one of them, such as .*birds"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "pets").train) == 14


def test_a_split_column_gives_the_splits(tmp_path):
    split = ["train"] * 12 + ["val"] * 4 + ["TEST"] * 4
    splits = open_dataset(write_parquet(tmp_path / "d.parquet", LABELS, split=split))
    assert [len(part) for part in splits] == [12, 4, 4]
    assert splits.validation.ids[0] == "validation-000000"
    assert list(splits.train.groups) == []
    write_parquet(tmp_path / "d.parquet", LABELS, split=[*split[:-1], "holdout"])
    with pytest.raises(InputError, match="'holdout'"):
        open_dataset(tmp_path / "d.parquet")


def test_a_test_split_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match="only test"):
        open_dataset(write_parquet(tmp_path / "test.parquet", LABELS))


def test_ids_come_from_the_column_then_the_paths_then_the_rows(tmp_path):
    names = [f"{i}.png" for i in range(20)]
    path = write_parquet(tmp_path / "d.parquet", LABELS, paths=names, id=list(range(100, 120)))
    assert all_ids(open_dataset(path)) == [str(i) for i in range(100, 120)]
    write_parquet(path, LABELS, paths=names)
    assert all_ids(open_dataset(path)) == sorted(names)
    write_parquet(path, LABELS, paths=["same.png", *names[1:19], "same.png"])
    assert all_ids(open_dataset(path)) == [f"row-{i:06d}" for i in range(20)]


def test_duplicate_ids_are_refused_by_name(tmp_path):
    ids = [f"x{i}" for i in range(20)]
    ids[17] = ids[19] = "x4"
    with pytest.raises(InputError, match=r"called x4: rename") as caught:
        open_dataset(write_parquet(tmp_path / "d.parquet", LABELS, id=ids))
    assert str(caught.value).count(". ") == 0  # one sentence


def test_other_scalar_columns_become_groups(tmp_path):
    path = write_parquet(
        tmp_path / "d.parquet",
        LABELS,
        camera=["a", None] * 10,
        weight=[0.5] * 20,
        vector=[[1, 2]] * 20,
        blob=[b"x"] * 20,
    )
    groups = open_dataset(path).train.groups
    assert list(groups) == ["camera", "weight"]
    assert len(groups) == 14


def test_groups_follow_their_examples(tmp_path):
    labels = [0, 1, 2, 3] * 10
    images = [encoded(row) for row in range(40)]
    images[5] = b"broken"
    splits = open_dataset(
        write_parquet(tmp_path / "d.parquet", labels, images=images, row=list(range(40))), max_train=9
    )
    for split in splits:
        for i, identity in enumerate(split.ids):
            row = split.groups["row"].iloc[i]
            assert identity == f"row-{row:06d}"
            assert split.labels[i] == labels[row]
            assert split.source(i) == images[row]
    picked = splits.train.subset([2, 0])
    assert picked.ids == [splits.train.ids[2], splits.train.ids[0]]
    assert picked.groups["row"].tolist() == splits.train.groups["row"].iloc[[2, 0]].tolist()
    assert picked.groups.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, -1] * 10, None, "row 1 has -1"),
        ([0, 1] * 9 + [0, 2], ["cat", "dog"], "must be 0 to 1, but row 19 has 2"),
        ([0.0, 1.0] * 10, ["cat", "dog"], "integers or strings"),
        ([0.5, float("inf")] * 10, None, "column label must hold finite numbers, but that of row 1 is not"),
        ([0.5] * 20, None, "all 14 training examples have 0.5"),
        ([0] * 20, None, "only one class"),
    ],
)
def test_wrong_labels_are_refused_in_one_sentence(tmp_path, labels, names, message):
    with pytest.raises(InputError, match=message):
        open_dataset(write_parquet(tmp_path / "d.parquet", labels, names=names))


@pytest.mark.parametrize(
    ("labels", "names", "task", "classes"),
    [
        ([0.5, 1.25] * 10, None, "auto", []),
        ([0.0, 1.0] * 10, None, "auto", ["0", "1"]),
        (list(range(-10, 30)), None, "regression", []),
        (list(range(4)) * 5, None, "auto", ["0", "1", "2", "3"]),
        ([3, 7] * 10, None, "regression", []),
        (["0.5", "7"] * 10, None, "regression", []),
        ([0, 1] * 10, ["10", "20"], "auto", ["10", "20"]),
    ],
)
def test_numbers_are_values_unless_they_number_classes(tmp_path, labels, names, task, classes):
    path = write_parquet(tmp_path / "d.parquet", labels, names=names, original_label=labels)
    train = open_dataset(path, task=task).train
    assert train.class_names == classes
    if not classes:
        found = dict(zip(train.ids, train.labels, strict=True))
        assert found == {id_: float(labels[int(id_.removeprefix("row-"))]) for id_ in found}
        assert train.groups["original_label"].tolist() == train.labels.tolist()
        assert train.values.name == "label"


def test_numbers_with_names_take_the_named_values(tmp_path):
    path = write_parquet(tmp_path / "d.parquet", LABELS, names=["10", "20.5"])
    assert set(open_dataset(path, task="regression").train.labels) == {10.0, 20.5}
    write_parquet(path, LABELS, names=["cat", "dog"])
    with pytest.raises(InputError, match="The column label must hold numbers for a regression, but row 0 holds 'cat'"):
        open_dataset(path, task="regression")


def test_declared_classes_without_images_are_skipped(tmp_path):
    splits = open_dataset(write_parquet(tmp_path / "d.parquet", [0, 2] * 10, names=["cat", "dog", "emu"]))
    assert splits.train.class_names == ["cat", "emu"]
    assert set(splits.train.labels) == {0, 1}


def test_broken_and_missing_images_are_listed(tmp_path):
    images = [encoded(row) for row in range(20)]
    images[3], images[4] = None, images[4][:30]
    splits = open_dataset(write_parquet(tmp_path / "d.parquet", LABELS, images=images))
    assert {item.where for item in splits.unreadable} == {"row-000003", "row-000004"}
    assert len(all_ids(splits)) == 18


def test_images_may_be_plain_bytes(tmp_path):
    table = pa.table({"image": [encoded(row) for row in range(20)], "label": LABELS})
    pq.write_table(table, tmp_path / "d.parquet")
    assert open_dataset(tmp_path / "d.parquet").train[0][0].size == (8, 8)


def test_other_parquet_files_are_refused(tmp_path):
    (tmp_path / "d.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        open_dataset(tmp_path)
    pd.DataFrame({"picture": ["x"], "label": [1]}).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(InputError, match="enough examples to set one aside"):
        open_dataset(tmp_path)


def test_files_with_different_columns_are_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", LABELS)
    write_parquet(tmp_path / "test.parquet", ["a", "b"])
    with pytest.raises(InputError, match="same columns"):
        open_dataset(tmp_path)


def test_each_file_names_its_own_classes(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 0, 1, 1] * 5, names=["neg", "pos"])
    write_parquet(tmp_path / "test.parquet", [0, 0, 1, 1] * 5, names=["pos", "neg"])
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == splits.test.class_names == ["neg", "pos"]
    assert splits.test.labels.tolist() == [1, 1, 0, 0] * 5


def test_the_target_of_images_can_be_chosen(tmp_path):
    columns = {"img": images(20), "fine_label": [0, 1] * 10, "coarse_label": [0] * 10 + [1] * 10}
    path = write(
        named(columns, images=("img",), fine_label=["ant", "bee"], coarse_label=["a", "b"]), tmp_path / "d.parquet"
    )
    with pytest.raises(InputError, match="but fine_label and coarse_label hold classes: choose one, such as --target"):
        open_dataset(path)
    splits = open_dataset(path, target="coarse_label")
    assert splits.train.class_names == ["a", "b"]
    assert set(splits.train.groups["fine_label"]) == {"ant", "bee"}
    assert open_dataset(path, target="fine_label").train.class_names == ["ant", "bee"]
    with pytest.raises(InputError, match="There is no column label; the columns are img, fine_label, coarse_label"):
        open_dataset(path, target="label")


def test_texts_and_rows_open_from_the_layouts_of_the_hub(tmp_path):
    texts = {"text": [f"good words {i}" for i in range(20)], "label": [0, 1] * 10}
    write(named(texts, label=["neg", "pos"]), tmp_path / "a" / "plain_text" / "train-00000-of-00001.parquet")
    write(named(texts, label=["pos", "neg"]), tmp_path / "a" / "plain_text" / "test-00000-of-00001.parquet")
    splits = open_dataset(tmp_path / "a")
    assert (splits.train.kind, splits.train.class_names, len(splits.test)) == ("text", ["neg", "pos"], 20)
    assert "splits train (17)" in splits.opened
    assert splits.test.labels.tolist() == [1, 0] * 10
    write(pa.table({"x": [row % 7 for row in range(20)], "y": [0, 1] * 10}), tmp_path / "b" / "data" / "train.parquet")
    assert open_dataset(tmp_path / "b").train.kind == "table"


def test_lists_beside_a_text_are_left_aside(tmp_path):
    table = pa.table({"text": [f"good words {i}" for i in range(20)], "label": list("ab") * 10, "tokens": [["a"]] * 20})
    splits = open_dataset(write(table, tmp_path / "d.parquet"))
    assert splits.train.kind == "text"
    assert "The column tokens holds lists or structures and was left aside." in splits.notes


def test_paths_are_followed_within_the_dataset(tmp_path):
    secret, root = tmp_path / "secret.png", tmp_path / "d"
    secret.write_bytes(encoded(99))
    paths = [f"pictures/{row}.png" for row in range(17)] + ["../secret.png", str(secret), "pictures/none.png"]
    (root / "pictures").mkdir(parents=True)
    for row in range(17):
        (root / paths[row]).write_bytes(encoded(row))
    column = pa.array([{"bytes": None, "path": path} for path in paths], IMAGE)
    write(named({"image": column, "label": list("ab") * 10}, images=("image",)), root / "data" / "train-0.parquet")
    splits = open_dataset(root)
    kept = [(identity, split.source(i)) for split in splits for i, identity in enumerate(split.ids)]
    assert sorted(kept) == sorted((paths[row], encoded(row)) for row in range(17))
    outside = "its file {} is outside the dataset's folder"
    assert {each.where: each.why for each in splits.unreadable} == {
        "../secret.png": outside.format("../secret.png"),
        str(secret): outside.format(secret),
        "pictures/none.png": "its file pictures/none.png is missing",
    }


def test_paths_may_be_plain_texts(tmp_path):
    for row in range(20):
        (tmp_path / f"{row}.png").write_bytes(encoded(row))
    table = pa.table({"file_name": [f"{row}.png" for row in range(20)], "label": list("ab") * 10})
    splits = open_dataset(write(table, tmp_path / "metadata.parquet"))
    assert splits.train.kind == "image"
    assert splits.train.source(0) == encoded(int(splits.train.ids[0].removesuffix(".png")))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"holds paths of images without the images, and none of the 20 can be read"):
        open_dataset(write(table, tmp_path / "other" / "metadata.parquet"))


def test_several_columns_of_images(tmp_path):
    columns = {"image": images(20), "mask": images(20, first=50), "label": list("ab") * 10}
    splits = open_dataset(write(pa.table(columns), tmp_path / "d.parquet"))
    assert splits.train.source(0) == encoded(int(splits.train.ids[0].removeprefix("row-")))
    assert "Images are read from the column image; mask was left aside." in splits.notes
    columns["left"] = columns.pop("image")
    with pytest.raises(InputError, match="but mask and left hold images: rename the one to score to image"):
        open_dataset(write(pa.table(columns), tmp_path / "e.parquet"))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("name", ["Image", "picture_of_a_cat"])
def test_images_are_bytes_of_any_type_in_a_column_of_any_name(tmp_path, name, kind):
    table = pa.table({name: pa.array([encoded(row) for row in range(20)], kind), "label": list("ab") * 10})
    splits = open_dataset(write(table, tmp_path / "d.parquet"))
    assert splits.train.source(0) == encoded(int(splits.train.ids[0].removeprefix("row-")))


def test_pixels_as_lists_are_refused(tmp_path):
    table = pa.table({"image": [[[1, 2], [3, 4]]] * 20, "label": list("ab") * 10})
    with pytest.raises(InputError, match="The column image must hold encoded images"):
        open_dataset(write(table, tmp_path / "d.parquet"))


def test_labels_of_images_may_be_true_or_false_and_missing(tmp_path):
    path = write_parquet(tmp_path / "d.parquet", [True, False, None, True] * 10)
    splits = open_dataset(path)
    assert splits.train.class_names == ["False", "True"]
    named = "row 2, row 6, row 10, row 14 and 6 more"
    assert f"10 of the 40 rows have no label in the column label and were left out: {named}." in splits.notes
    assert "row-000002" not in all_ids(splits)
    listed = list_examples(path).parts["train"]
    assert listed.ids == [f"row-{row:06d}" for row in listed.rows]
    assert open_dataset(write_parquet(path, [1, None, 2] * 10)).train.class_names == ["1", "2"]


def test_a_table_beside_folders_of_images_is_not_the_dataset(tmp_path):
    write_folder(tmp_path / "d", {"cat": 10, "dog": 10})
    for place in ("features.parquet", "cat/features.parquet", "embeddings/train.parquet"):
        file = write(pa.table({"a": [1] * 20, "label": list("ab") * 10}), tmp_path / "d" / place)
        splits = open_dataset(tmp_path / "d")
        assert (splits.train.kind, len(splits.train)) == ("image", 14)
        file.unlink()


def test_a_file_of_the_hubs_cache_is_a_link(tmp_path):
    blob = write_parquet(tmp_path / "blobs" / "x.parquet", LABELS).rename(tmp_path / "blobs" / "0a1b")
    link = tmp_path / "snapshots" / "1" / "d.parquet"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert len(open_dataset(link.parent).train) == 14
    splits = open_dataset(link)
    assert (splits.name, splits.location) == ("d.parquet", str(link))


def test_whole_numbers_of_many_kinds_are_values_of_images(tmp_path):
    ages = [float(age) for age in range(20, 60)]
    assert open_dataset(write_parquet(tmp_path / "d.parquet", ages)).train.class_names == []
