"""Layouts of image folders: which folders are splits, which are classes, and when that is unclear."""

import pytest

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from tests.support.builders import encoded, write_folder


def sizes(splits):
    return [len(split) for split in splits]


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Validation", "Testing"),
        ("TRAINING", "DEV", "TESTING"),
        ("trn", "eval", "tst"),
        ("train_set", "val_set", "test_set"),
        ("Train Images", "valid_images", "test-images"),
        ("train2017", "val2017", "test2017"),
        ("train", "dev", "eval"),
        ("seg_train", "seg_val", "seg_test"),
    ],
)
def test_splits_have_every_usual_name(tmp_path, names):
    counts = {f"{split}/{c}": n for split, n in zip(names, (10, 3, 4), strict=True) for c in ("glioma", "notumor")}
    splits = open_dataset(write_folder(tmp_path / "brains", counts))
    assert sizes(splits) == [20, 6, 8]
    assert splits.train.class_names == ["glioma", "notumor"]
    assert all(f"{name} -> " in splits.opened for name in names if name != "train")
    assert splits.notes == []


def test_training_and_testing_are_splits(tmp_path):
    counts = {f"Training/{c}": 10 for c in ("glioma", "notumor")} | {f"Testing/{c}": 4 for c in ("glioma", "notumor")}
    splits = open_dataset(write_folder(tmp_path / "a1", counts))
    assert splits.opened == (
        "Opened a1: images in class folders; splits Training -> train (17), validation (3 set aside), "
        "Testing -> test (8); 2 classes."
    )


@pytest.mark.parametrize("names", [("val", "validation"), ("test", "Testing"), ("val", "Val")])
def test_two_folders_for_one_split_are_refused(tmp_path, names):
    write_folder(tmp_path, {f"{split}/{c}": 3 for split in ("train", *names) for c in ("a", "b")})
    with pytest.raises(InputError, match="one name for the"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("folders", [("train", "test"), ("Training", "Testing", "val"), ("train",), ("train", "docs")])
def test_splits_without_classes_are_refused(tmp_path, folders):
    write_folder(tmp_path, {folder: 0 if folder == "docs" else 4 for folder in folders})
    with pytest.raises(InputError, match=r"^The images of each split need a folder for each class, .* has none in"):
        open_dataset(tmp_path)


def test_classes_called_like_splits_are_classes_where_images_are_directly_inside(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"train": 5, "car": 5, "bus": 5}))
    assert splits.train.class_names == ["bus", "car", "train"]
    assert "train is taken as a class, not as splits: no class folders are inside." in splits.notes


def test_a_class_or_split_of_the_same_shape_is_refused(tmp_path):
    write_folder(tmp_path, {"train/steam": 3, "train/diesel": 3, "car/sedan": 3, "bus/double": 3})
    with pytest.raises(InputError, match="unclear whether train is a split or a class beside bus and car"):
        open_dataset(tmp_path)


def test_a_split_without_class_folders_beside_one_with_them_is_noted(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"Train/0": 6, "Train/1": 6, "Test": 5, "Meta": 2}))
    assert splits.train.class_names == ["0", "1"]
    assert "The folder Test has no class folders: its 5 files were left out." in splits.notes
    assert "The folder Meta is not a split: its 2 files were left out." in splits.notes


def test_one_split_alone_is_divided(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"train/a": 10, "train/b": 10}))
    assert sizes(splits) == [14, 3, 3]
    with pytest.raises(InputError, match="needs a train split, but this one has only test"):
        open_dataset(write_folder(tmp_path / "other", {"test/a": 10, "test/b": 10}))


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "dev", "Testing")])
def test_splits_may_be_inside_the_class_folders(tmp_path, names):
    counts = {f"{c}/{split}": n for split, n in zip(names, (8, 2, 3), strict=True) for c in ("cat", "dog")}
    splits = open_dataset(write_folder(tmp_path, counts))
    assert sizes(splits) == [16, 4, 6]
    assert splits.train.class_names == ["cat", "dog"]
    assert "with a folder for each split inside" in splits.opened
    assert all(f"/{names[0]}/" in identity for identity in splits.train.ids)


def test_splits_inside_some_classes_alone_are_not_taken_and_noted(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"cat/train": 4, "cat/test": 4, "dog": 8}))
    assert sum(sizes(splits)) == 16
    assert any("Folders of splits inside cat were not taken as splits" in note for note in splits.notes)


@pytest.mark.parametrize("around", ["archive", "archive/data", "archive/data v2/images"])
def test_folders_around_the_layout_are_entered(tmp_path, around):
    write_folder(tmp_path / "pets", {f"{around}/train/a": 6, f"{around}/train/b": 6, f"{around}/test/a": 3})
    (tmp_path / "pets" / "archive" / "README.md").write_text("hello")
    splits = open_dataset(tmp_path / "pets")
    assert (len(splits.test), splits.train.class_names) == (3, ["a", "b"])
    assert f"images in class folders in {around}; " in splits.opened
    assert [each.where for each in splits.unreadable] == ["archive/README.md"]


def test_a_folder_around_the_classes_of_each_split_is_entered(tmp_path):
    counts = {f"seg_{split}/seg_{split}/{c}": n for split, n in (("train", 8), ("test", 4)) for c in ("sea", "street")}
    splits = open_dataset(write_folder(tmp_path, {**counts, "seg_pred/seg_pred": 3}))
    assert splits.train.class_names == ["sea", "street"]
    assert len(splits.test) == 8
    assert "The folder seg_pred is not a split: its 3 files were left out." in splits.notes


def test_a_single_class_folder_is_not_entered(tmp_path):
    with pytest.raises(InputError, match="only one class: cat"):
        open_dataset(write_folder(tmp_path, {"cat": 8}))


def test_nested_class_folders_belong_to_the_outer_class(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"cat/siamese": 3, "cat/persian": 3, "cat": 2, "dog/pug": 6}))
    assert splits.train.class_names == ["cat", "dog"]
    assert sum(sizes(splits)) == 14


def test_numbers_are_class_names(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"0": 4, "1": 4, "10": 4, "007": 4}))
    assert splits.train.class_names == ["0", "007", "1", "10"]


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("cat", "cat "), ("big cat", "Big  cat")])
def test_classes_that_differ_by_case_or_spaces_are_pointed_out(tmp_path, pair):
    splits = open_dataset(write_folder(tmp_path, {pair[0]: 4, pair[1]: 4, "dog": 4}))
    assert len(splits.train.class_names) == 3
    assert any("differ only by case or spaces" in note for note in splits.notes)


def test_classes_spelled_otherwise_in_another_split_are_pointed_out(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"train/Cat": 8, "train/dog": 8, "test/cat": 3, "test/dog": 3}))
    assert any("'Cat' and 'cat' differ only by case" in note for note in splits.notes)


def test_files_beside_folders_are_no_class_and_are_listed(tmp_path):
    write_folder(tmp_path, {"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2})
    (tmp_path / "Train.csv").write_text("path,label\n")
    (tmp_path / "train" / "stray.png").write_bytes(encoded(1))
    splits = open_dataset(tmp_path)
    assert {each.where: each.why for each in splits.unreadable} == {
        "Train.csv": "it is not in the folder of a split",
        "train/stray.png": "it is not in a class folder",
    }
    assert splits.train.class_names == ["a", "b"]
