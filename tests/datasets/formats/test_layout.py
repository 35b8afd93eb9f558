"""Where the files of a dataset are, and which split each is."""

import pytest

from attribution_core.datasets.formats.layout import data_folder, find_files
from attribution_core.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def found(root):
    return {file.relative_to(root).as_posix(): split for file, split in find_files(root, ".parquet").splits.items()}


@pytest.mark.parametrize(
    "names",
    [
        {"train.parquet": "train", "test.parquet": "test"},
        {"Training.parquet": "train", "dev.parquet": "validation", "TEST.PARQUET": "test"},
        {"imdb-train-00000-of-00002.parquet": "train", "imdb-train-00001-of-00002.parquet": "train"},
        {"data/train-00000-of-00001-0a1b2c3d.parquet": "train", "data/test-00000-of-00001-0a1b2c3d.parquet": "test"},
        {"plain_text/train-00000-of-00001.parquet": "train", "plain_text/test-00000-of-00001.parquet": "test"},
        {"default/train/0000.parquet": "train", "default/test/0000.parquet": "test"},
        {"train/0000.parquet": "train", "train/0001.parquet": "train", "val/0000.parquet": "validation"},
        {"data/sst2/train-0.parquet": "train", "data/sst2/test-0.parquet": "test"},
        {"v1.0/a.parquet": "row", "v1.0/b.parquet": "row"},
        {"validation_matched-00000-of-00001.parquet": "validation", "train-00000-of-00001.parquet": "train"},
    ],
)
def test_files_and_folders_name_splits(tmp_path, names):
    touch(tmp_path, *names, "README.md", ".gitattributes", ".cache/x.parquet")
    assert found(tmp_path) == names


@pytest.mark.parametrize("other", ["unsupervised-00000-of-00001.parquet", "unsupervised/0000.parquet"])
def test_other_splits_are_skipped_and_named(tmp_path, other):
    touch(tmp_path, "train/0000.parquet", "test/0000.parquet", other)
    files = find_files(tmp_path, ".parquet")
    assert [file.parent.name for file in files.splits] == ["test", "train"]
    assert files.notes == ["unsupervised is not a train, validation or test split and was skipped."]


def test_several_configurations_are_named(tmp_path):
    touch(tmp_path, "cola/train-0.parquet", "cola/test-0.parquet", "sst2/train-0.parquet")
    with pytest.raises(InputError, match=r"holds 2, in cola, sst2: give the path of one of them, such as .*/cola\."):
        find_files(tmp_path, ".parquet")
    touch(tmp_path / "sst2", "data/train-1.parquet")
    with pytest.raises(InputError, match=r"in data, the folder itself: .* such as .*/sst2/data\."):
        find_files(tmp_path / "sst2", ".parquet")


def test_the_folder_of_other_files_is_found(tmp_path):
    assert (
        data_folder(touch(tmp_path, "data/train.csv", "data/test.csv", "README.md"), (".csv", ".jsonl"))
        == tmp_path / "data"
    )
    with pytest.raises(InputError, match="holds 2, in data, en"):
        data_folder(touch(tmp_path, "en/train.jsonl"), (".csv", ".jsonl"))
    assert data_folder(touch(tmp_path, "all.csv"), (".csv", ".jsonl")) == tmp_path
    (tmp_path / "all.csv").unlink()
    assert data_folder(touch(tmp_path, "cat/1.png"), (".csv", ".jsonl")) == tmp_path
