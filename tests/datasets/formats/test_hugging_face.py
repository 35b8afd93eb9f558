"""Folders made by save_to_disk, and datasets by name."""

import sys
from pathlib import Path

import numpy as np
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.formats import hugging_face
from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from tests.support.builders import encoded
from tests.support.hugging_face import FEATURES, NAMES, arrow_table, fill_cache, save_dataset, save_splits


def test_one_dataset_in_several_files(tmp_path):
    splits = open_dataset(save_dataset(tmp_path / "saved", 20, shards=2))
    assert [len(split) for split in splits] == [14, 3, 3]
    assert splits.train.class_names == NAMES
    assert list(splits.train.groups) == ["source"]
    for i, identity in enumerate(splits.train.ids):
        row = int(identity.removeprefix("row-"))
        assert splits.train.source(i) == encoded(row)
        assert splits.train.labels[i] == row % 2


def test_several_splits(tmp_path):
    splits = open_dataset(save_splits(tmp_path, train=20, validation=8, test=4, extra=6))
    assert [len(split) for split in splits] == [20, 8, 4]
    assert splits.test.source(3) == encoded(2003)
    assert any(note.startswith("extra is not a train") for note in splits.notes)


def test_datasets_that_the_library_writes_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features.from_dict(FEATURES)
    images = [{"bytes": encoded(row), "path": None} for row in range(20)]
    columns = {"img": images, "animal": [0, 1] * 10, "source": ["web"] * 20}
    made = datasets.Dataset.from_dict(columns, features=features).shuffle(seed=0)
    made.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "two")
    assert sum(map(len, open_dataset(tmp_path / "one"))) == 20
    splits = open_dataset(tmp_path / "two")
    assert [len(split) for split in splits] == [17, 3, 20]
    assert np.array_equal(np.asarray(splits.test[4][0]), np.asarray(made[4]["img"]))
    assert splits.test[4][1] == made[4]["animal"]


def test_the_task_reaches_saved_datasets_and_those_by_name(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="but row 0 holds 'cat'"):
        open_dataset(save_dataset(tmp_path / "saved", 20), task="regression")
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict(
        {"image": arrow_table(20)["img"].to_pylist(), "label": [0.1 * i for i in range(20)]}
    )
    made.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "values")
    train = open_dataset(tmp_path / "values").train
    assert train.labels.tolist() == [0.1 * int(id_.removeprefix("row-")) for id_ in train.ids]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    fill_cache(tmp_path / "cache", "me/animals")
    with pytest.raises(InputError, match="but row 0 holds 'cat'"):
        open_dataset("hf:me/animals", task="regression")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_dict.json", "{", "cannot be read"),
        ("dataset_dict.json", "[]", "JSON object"),
        ("dataset_dict.json", '{"splits": ["../train"]}', "names of the splits"),
        ("dataset_dict.json", '{"splits": ["extra"]}', "split called train"),
        ("dataset_dict.json", '{"splits": ["train", "test", "val"]}', "state.json.*cannot be read"),
        ("train/state.json", "{}", "must list Arrow files"),
        ("train/state.json", '{"_data_files": [{"filename": "../test/data-00000-of-00001.arrow"}]}', "must list Arrow"),
        (
            "train/state.json",
            '{"_data_files": [{"filename": "none.arrow"}]}',
            "none.arrow cannot be read as an Arrow file",
        ),
        ("train/data-00000-of-00001.arrow", "nothing", "cannot be read as an Arrow file"),
    ],
)
def test_damaged_folders_are_refused_in_one_sentence(tmp_path, file, content, message):
    (save_splits(tmp_path, train=20, test=4) / file).write_text(content)
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path)


def test_by_name_from_the_cache_of_the_library(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    fill_cache(tmp_path, "me/animals")
    splits = open_dataset("hf:me/animals")
    assert (splits.name, splits.location) == ("hf:me/animals", "")
    assert [len(split) for split in splits] == [17, 3, 4]
    assert splits.test.source(3) == encoded(3)
    with pytest.raises(InputError, match=r"hf:me/plants cannot be loaded.*save_to_disk\('FOLDER'\).*give its path"):
        open_dataset("hf:me/plants")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'samplescope\[hub\]'.*save_to_disk"):
        open_dataset("hf:me/animals")


def test_other_folders_are_not_mistaken_for_saved_datasets(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    assert not hugging_face.recognizes(tmp_path)


def test_the_default_folder_of_a_named_dataset_is_one_everywhere():
    assert ScoreConfig(data="hf:imdb").folder == Path("runs/hf-imdb")
    assert ScoreConfig(data="hf:org/imdb").folder == Path("runs/imdb")
