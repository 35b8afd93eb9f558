"""The folders that a page lists for a user to pick one: names, and what looks like a dataset."""

from __future__ import annotations

import pytest

from attribution_core.errors import InputError
from attribution_core.jobs.folders import folders_in, what_it_holds
from tests.support.builders import write_folder
from tests.support.unreadable import lock


def test_folders_are_listed_by_name_with_what_they_hold(tmp_path):
    write_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "Split", {"train/cat": 1, "train/dog": 1, "test/cat": 1, "test/dog": 1})
    for name, file in (("rows", "a.csv"), ("hub", "dataset_info.json"), ("mnist", "train-images-idx3-ubyte.gz")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    assert [(each.name, each.holds) for each in folders_in(tmp_path)] == [
        ("empty", ""),
        ("hub", "saved Hugging Face dataset"),
        ("mnist", "IDX files"),
        ("pets", "images in 2 class folders"),
        ("rows", "CSV files"),
        ("Split", "images by split and class"),
    ]
    assert what_it_holds(tmp_path) == ""


def test_a_folder_that_cannot_be_read_is_refused_and_does_not_stop_the_list(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    lock(monkeypatch, "locked")
    assert [(each.name, each.holds) for each in folders_in(tmp_path)] == [("locked", "")]
    for path in (tmp_path / "locked", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="cannot be shown"):
            folders_in(path)
