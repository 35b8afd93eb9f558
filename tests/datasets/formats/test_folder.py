"""Image folders, with everything that a real disk may hold."""

import os
import random
import shutil
import unicodedata

import numpy as np
import pytest

from attribution_core.datasets import inspection, open_dataset
from attribution_core.errors import InputError
from tests.support.builders import encoded, write_folder
from tests.support.unreadable import lock


def reasons(splits):
    return {item.where: item.why for item in splits.unreadable}


def all_ids(splits):
    return sorted(identity for split in splits for identity in split.ids)


def test_class_folders_without_splits_are_divided(tmp_path):
    splits = open_dataset(write_folder(tmp_path / "pets", {"dog": 20, "cat": 20}))
    train, validation, test = splits
    assert (len(train), len(validation), len(test)) == (28, 6, 6)
    assert train.class_names == ["cat", "dog"]
    assert np.bincount(train.labels).tolist() == [14, 14]
    assert splits.name == "pets"
    assert splits.location == str(tmp_path / "pets")
    for i, identity in enumerate(train.ids):
        assert identity.split("/")[0] == train.class_names[train.labels[i]]
        assert train.source(i) == (tmp_path / "pets" / identity).read_bytes()
    assert sum("6 of the 40 training examples (15%) were set aside" in note for note in splits.notes) == 2


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("Train", "val", "TEST"), ("TRAIN", "Valid", "test")]
)
def test_split_folders_are_found_in_any_case(tmp_path, names):
    counts = {f"{split}/{c}": n for split, n in zip(names, (5, 3, 2), strict=True) for c in ("a", "b")}
    splits = open_dataset(write_folder(tmp_path, counts))
    assert [len(split) for split in splits] == [10, 6, 4]
    assert splits.train.ids[0] == f"{names[0]}/a/0.png"
    assert splits.notes == []


def test_a_missing_validation_split_is_taken_from_train_only(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"train/a": 20, "train/b": 20, "test/a": 4, "test/b": 4}))
    assert [len(split) for split in splits] == [34, 6, 8]
    assert all(identity.startswith("train/") for identity in splits.validation.ids)
    assert [note.split(":")[0] for note in splits.notes] == ["No validation split was found"]


def test_a_folder_beside_the_splits_is_noted(tmp_path):
    write_folder(tmp_path, {"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2, "masks": 3})
    splits = open_dataset(tmp_path)
    assert not any("masks" in identity for identity in all_ids(splits))
    assert any("masks" in note for note in splits.notes)


def test_classes_may_be_called_train_and_test(tmp_path):
    assert open_dataset(write_folder(tmp_path, {"train": 5, "bus": 5, "test": 5})).train.class_names == [
        "bus",
        "test",
        "train",
    ]


def test_two_folders_for_one_split_are_refused(tmp_path):
    write_folder(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "valid/b": 1})
    with pytest.raises(InputError, match="val and valid"):
        open_dataset(tmp_path)


def test_ids_and_splits_do_not_depend_on_the_order_of_the_listing(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 12, "b": 12, "a/deeper": 3})
    expected = [split.ids for split in open_dataset(tmp_path)]
    scandir = os.scandir
    for seed in range(3):

        class Shuffled:
            def __init__(self, path, seed=seed):
                with scandir(path) as entries:
                    self.entries = list(entries)
                random.Random(seed).shuffle(self.entries)

            def __enter__(self):
                return iter(self.entries)

            def __exit__(self, *_):
                return None

        monkeypatch.setattr(os, "scandir", Shuffled)
        assert [split.ids for split in open_dataset(tmp_path)] == expected


def test_the_fingerprint_ignores_the_folders_path_and_sees_any_change(tmp_path):
    first = write_folder(tmp_path / "here", {"a": 8, "b": 8})
    before = open_dataset(first).fingerprint()
    moved = shutil.copytree(first, tmp_path / "there" / "renamed")
    assert open_dataset(moved).fingerprint() == before
    (moved / "a" / "3.png").write_bytes(encoded(999))
    assert open_dataset(moved).fingerprint() != before
    relabelled = shutil.copytree(first, tmp_path / "relabelled")
    (relabelled / "a").rename(relabelled / "c")
    assert open_dataset(relabelled).fingerprint() != before


def test_broken_files_are_listed_and_skipped(tmp_path):
    write_folder(tmp_path, {"a": 10, "b": 10})
    good = encoded(1, size=(64, 64))
    (tmp_path / "a" / "truncated.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "a" / "half.jpg").write_bytes(encoded(1, size=(64, 64), form="JPEG")[:900])
    (tmp_path / "a" / "text.jpg").write_text("hello")
    (tmp_path / "b" / "zero.png").touch()
    splits = open_dataset(tmp_path)
    assert set(reasons(splits)) == {"a/truncated.png", "a/half.jpg", "a/text.jpg", "b/zero.png"}
    assert "truncated" in reasons(splits)["a/truncated.png"]
    assert "not an image" in reasons(splits)["a/text.jpg"]
    assert "zero bytes" in reasons(splits)["b/zero.png"]
    assert len(all_ids(splits)) == 20


def test_a_file_without_permission_is_listed(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 10, "b": 10})
    read_bytes = type(tmp_path).read_bytes

    def refuse(path):  # tests may run as root, whom no permission bits stop
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    splits = open_dataset(tmp_path)
    assert set(reasons(splits)) == {"a/3.png", "b/3.png"}
    assert all("Permission denied" in why for why in reasons(splits).values())


def test_a_folder_without_permission_is_listed(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 5, "b": 5, "a/locked": 2})
    lock(monkeypatch, "locked")
    splits = open_dataset(tmp_path)
    assert reasons(splits) == {"a/locked": "Permission denied"}
    assert len(all_ids(splits)) == 10


def test_a_decompression_bomb_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    write_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "big.png").write_bytes(encoded(1, size=(40, 40)))  # Pillow itself would only warn
    (tmp_path / "b" / "huge.png").write_bytes(encoded(1, size=(60, 60)))
    assert set(reasons(open_dataset(tmp_path))) == {"a/big.png", "b/huge.png"}


def test_hidden_files_are_ignored_and_others_listed(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5, ".cache": 3})
    for name in (".DS_Store", "a/Thumbs.db", "labels.txt", "a/notes.md", "b/.hidden.png"):
        (tmp_path / name).write_text("no image")
    splits = open_dataset(tmp_path)
    assert reasons(splits) == {"labels.txt": "it is not in a class folder", "a/notes.md": "it is not an image (.md)"}
    assert len(all_ids(splits)) == 10
    assert splits.train.class_names == ["a", "b"]


def test_links_are_followed_to_files_inside_only(tmp_path):
    root = write_folder(tmp_path / "data", {"a": 6, "b": 6})
    outside = write_folder(tmp_path / "outside", {"c": 2})
    (root / "a" / "inside.png").symlink_to(root / "b" / "0.png")
    (root / "a" / "away.png").symlink_to(outside / "c" / "0.png")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    (root / "a" / "self.png").symlink_to("self.png")
    (root / "loop").symlink_to("loop")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(outside / "c", target_is_directory=True)
    splits = open_dataset(root)
    assert set(reasons(splits)) == {"a/away.png", "a/gone.png", "a/self.png", "a/loop", "loop", "c"}
    assert "outside the dataset's folder" in reasons(splits)["a/away.png"]
    assert "a/inside.png" in all_ids(splits)
    assert len(all_ids(splits)) == 13


def test_a_split_that_is_a_link_is_listed(tmp_path):
    root = write_folder(tmp_path / "data", {"train/a": 9, "train/b": 9})
    (root / "test").symlink_to(write_folder(tmp_path / "outside", {"a": 2, "b": 2}), target_is_directory=True)
    assert set(reasons(open_dataset(root))) == {"test"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert reasons(open_dataset(tmp_path)) == {"a/pipe.png": "it is not a regular file"}


def test_an_image_outside_the_class_folders_is_listed(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "stray.png").write_bytes(encoded(1))
    assert set(reasons(open_dataset(tmp_path))) == {"stray.png"}


def test_names_are_kept_in_nfc(tmp_path):
    composed, decomposed = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    write_folder(tmp_path, {decomposed: 5, "日本": 5})
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == [composed, "日本"]
    assert f"{composed}/0.png" in all_ids(splits)


def test_two_names_that_nfc_makes_equal_are_refused(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    for form in ("NFC", "NFD"):
        (tmp_path / "a" / unicodedata.normalize(form, "é.png")).write_bytes(encoded(1))
    if len(list((tmp_path / "a").iterdir())) == 6:
        pytest.skip("this file system makes the names equal itself")
    with pytest.raises(InputError, match=r"a/é\.png: rename one"):
        open_dataset(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_not_utf8_can_be_printed(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / os.fsdecode(b"\xff.png")).write_bytes(encoded(1))
    assert r"a/\xff.png" in [i.encode().decode() for i in all_ids(open_dataset(tmp_path))]


def test_an_empty_class_folder_is_skipped_with_a_note(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 0, "c": 5})
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == ["a", "c"]
    assert set(splits.train.labels) == {0, 1}
    assert "The class b has no image and was skipped." in splits.notes


def test_a_class_of_unreadable_images_is_skipped_with_a_note(tmp_path):
    write_folder(tmp_path, {"a": 5, "c": 5, "b": 0})
    (tmp_path / "b" / "0.png").touch()
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == ["a", "c"]
    assert any("class b" in note for note in splits.notes)


def test_a_class_with_one_image_goes_to_train(tmp_path):
    for seed in range(5):
        splits = open_dataset(write_folder(tmp_path, {"many": 30, "one": 1}), seed=seed)
        assert splits.train.labels.tolist().count(1) == 1


def test_a_class_without_training_images_is_noted(tmp_path):
    write_folder(tmp_path, {"train/a": 9, "train/b": 9, "test/a": 2, "test/c": 2})
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == ["a", "b", "c"]
    assert "The class c has no training image." in splits.notes


def test_one_class_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"at least two classes.*only one class: a"):
        open_dataset(write_folder(tmp_path, {"a": 10}))


def test_no_readable_image_is_refused_with_a_reason(tmp_path):
    write_folder(tmp_path, {"a": 0, "b": 0})
    with pytest.raises(InputError, match="none were found"):
        open_dataset(tmp_path)
    for name in "ab":
        for number in range(4):
            (tmp_path / name / f"{number}.png").touch()
    with pytest.raises(InputError, match="zero bytes"):
        open_dataset(tmp_path)


def test_a_file_that_vanishes_later_is_named(tmp_path, monkeypatch):
    path = write_folder(tmp_path, {"a": 5, "b": 5})
    small = open_dataset(path).train
    monkeypatch.setattr(inspection, "MOST_KEPT", 0)
    large = open_dataset(path).train
    (tmp_path / large.ids[0]).unlink()
    for read in (lambda: large[0], lambda: large.source(0), lambda: small.source(0)):
        with pytest.raises(InputError, match=r"0\.png cannot be read: No such file"):
            read()
    assert small[0][0].size == (8, 8)  # a small dataset keeps what it decoded
