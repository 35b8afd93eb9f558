"""Folders made by save_to_disk, and datasets by name."""

import json
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from attribution_core.datasets import list_examples, open_dataset
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


def saved_texts(names, labels, **columns):
    texts = {"text": [f"good words {i}" for i in range(len(labels))], "label": labels, **columns}
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    features |= {name: datasets.List(datasets.Value("string")) for name in columns}
    return datasets.Dataset.from_dict(texts, features=datasets.Features(features))


def test_saved_texts_are_read(tmp_path):
    saved_texts(["neg", "pos"], [0, 1] * 10, tokens=[["a"]] * 20).save_to_disk(tmp_path / "one", num_shards=3)
    splits = open_dataset(tmp_path / "one")
    assert (splits.train.kind, splits.train.class_names) == ("text", ["neg", "pos"])
    assert "The column tokens holds lists or structures and was left aside." in splits.notes
    text, label = splits.train[0]
    assert (text, label) == (f"good words {int(splits.train.ids[0][4:])}", int(splits.train.ids[0][4:]) % 2)
    datasets.DatasetDict(
        train=saved_texts(["neg", "pos"], [0, 1] * 10),
        test=saved_texts(["pos", "neg"], [0, 0, 1, 1]),
        unsupervised=saved_texts(["neg", "pos"], [-1] * 8),
    ).save_to_disk(tmp_path / "two")
    splits = open_dataset(tmp_path / "two")
    assert splits.test.labels.tolist() == [1, 1, 0, 0]
    assert "unsupervised is not a train, validation or test split and was skipped." in splits.notes


def test_a_saved_test_split_without_labels_is_left_out(tmp_path):
    both = datasets.DatasetDict(train=saved_texts(["a", "b"], [0, 1] * 10), test=saved_texts(["a", "b"], [-1] * 8))
    both.save_to_disk(tmp_path)
    splits = open_dataset(tmp_path)
    assert [len(split) for split in splits] == [14, 3, 3]
    assert "All 8 test rows have no label in the column label and were left out." in splits.notes


def test_saved_rows_are_read_and_their_target_chosen(tmp_path):
    rows = {"size": [float(i) for i in range(20)], "fine": [0, 1] * 10, "coarse": [0] * 10 + [1] * 10}
    features = {"size": datasets.Value("float64"), "fine": datasets.ClassLabel(names=["p", "q"])}
    features["coarse"] = datasets.ClassLabel(names=["a", "b"])
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).save_to_disk(tmp_path)
    with pytest.raises(InputError, match="but fine and coarse hold classes: choose one"):
        open_dataset(tmp_path)
    splits = open_dataset(tmp_path, target="coarse")
    assert (splits.train.kind, splits.train.class_names) == ("table", ["a", "b"])
    assert splits.train[0][0]["fine"] in ("p", "q")


def test_names_of_classes_that_only_the_folder_states(tmp_path):
    folder = save_dataset(tmp_path / "saved", 20)
    (folder / "dataset_info.json").write_text(
        json.dumps(
            {"features": FEATURES | {"animal": {"_type": "ClassLabel", "num_classes": 2, "names": ["emu", "fox"]}}}
        )
    )
    assert open_dataset(folder).train.class_names == ["emu", "fox"]
    (folder / "dataset_info.json").write_text(json.dumps({"features": None}))
    assert open_dataset(folder).train.class_names == NAMES


def test_saved_splits_may_order_their_classes_differently(tmp_path):
    given = {"train": ("cat", "dog"), "test": ("dog", "cat")}
    made = {}
    for split, names in given.items():
        features = datasets.Features({"img": datasets.Image(), "animal": datasets.ClassLabel(names=list(names))})
        images = [{"bytes": encoded(row), "path": None} for row in range(20)]
        made[split] = datasets.Dataset.from_dict({"img": images, "animal": [0, 1] * 10}, features=features)
    datasets.DatasetDict(made).save_to_disk(tmp_path)
    splits = open_dataset(tmp_path)
    for part, names in zip(splits, (given["train"], given["train"], given["test"]), strict=True):
        assert part.class_names == ["cat", "dog"]
        rows = [int(id_.rpartition("-")[2]) for id_ in part.ids]
        assert [part.class_names[label] for label in part.labels] == [names[row % 2] for row in rows]
        assert [part.source(i) for i in range(len(part))] == [encoded(row) for row in rows]


def test_splits_that_were_saved_one_by_one(tmp_path):
    save_dataset(tmp_path / "both" / "train", 20)
    save_dataset(tmp_path / "both" / "Testing", 8, first=100)
    splits = open_dataset(tmp_path / "both")
    assert [len(split) for split in splits] == [17, 3, 8]
    assert splits.test.source(0) == encoded(100)
    assert "splits train (17), validation (3 set aside), Testing -> test (8)" in splits.opened
    for name in ("birds", "pets"):
        save_splits(tmp_path / "several" / name, train=20, test=4)
    with pytest.raises(InputError, match=r"holds 2, in birds, pets: give the path of one, such as .*/birds\."):
        open_dataset(tmp_path / "several")
    assert len(open_dataset(tmp_path / "several" / "pets").test) == 4


def test_the_choice_of_rows_of_early_versions_is_kept(tmp_path):
    folder = save_dataset(tmp_path / "saved", 40)
    indices = pa.table({"indices": pa.array(range(39, -1, -2), pa.uint64())})
    with pa.ipc.new_stream(folder / "indices.arrow", indices.schema) as writer:
        writer.write_table(indices)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "indices.arrow"}]}))
    train = list_examples(folder).parts["train"]
    assert [image.encoded() for image in train.images[:2]] == [encoded(39), encoded(37)]
    with pytest.raises(InputError, match="load it with the library datasets and save it again"):
        hugging_face.files_of(folder)


def test_saved_paths_are_followed_only_within_the_dataset(tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(0))
    columns = {"image": [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 20, "label": list("ab") * 10}
    made = datasets.Dataset.from_dict(columns)
    made.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"holds paths of images without the images.*outside the dataset's folder"):
        open_dataset(tmp_path / "saved")


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path, monkeypatch):
    asked, offline = [], []

    def refuse(self, repository, timeout):
        asked.append(repository)
        raise ConnectionError("no route")

    def load(repository, configuration):
        offline.append(datasets.config.HF_HUB_OFFLINE)
        raise FileNotFoundError("not in the cache")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match=r"hf:me/plants cannot be loaded.*\(not in the cache\)"):
        open_dataset("hf:me/plants")
    assert (asked, offline, datasets.config.HF_HUB_OFFLINE) == (["me/plants"], [True], False)


def test_a_configuration_of_a_named_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for configuration in ("pets", "birds"):
        fill_cache(tmp_path, "me/animals", configuration)
    with pytest.raises(
        InputError, match=r"hf:me/animals has several configurations.*such as hf:me/animals:(pets|birds)"
    ):
        open_dataset("hf:me/animals")
    assert len(open_dataset("hf:me/animals:birds").test) == 4
