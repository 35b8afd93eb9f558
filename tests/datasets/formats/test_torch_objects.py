"""Torch and torchvision Dataset objects."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, random_split

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from tests.support.builders import write_folder

COLOUR = np.random.default_rng(1).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


class Listed(Dataset):
    """What a user writes: images of any kind in a list."""

    def __init__(self, images, labels, classes=None):
        self.images, self.labels = images, labels
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if self.images[index] is None:
            raise RuntimeError("the file is gone")
        return self.images[index], self.labels[index]


CHANNELS_FIRST = torch.from_numpy(np.moveaxis(COLOUR, 3, 1).copy())


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([Image.fromarray(each) for each in COLOUR], COLOUR),
        ([Image.fromarray(each).convert("L").convert("1") for each in COLOUR], None),
        (list(COLOUR), COLOUR),
        (list(COLOUR[..., 0]), COLOUR[..., 0]),
        (list(COLOUR / 255), COLOUR),
        (CHANNELS_FIRST, COLOUR),
        (CHANNELS_FIRST.float() / 255, COLOUR),
        (CHANNELS_FIRST[:, :1], COLOUR[..., 0]),
        (CHANNELS_FIRST[:, 0], COLOUR[..., 0]),
        (CHANNELS_FIRST.to(torch.int64), COLOUR),
    ],
)
@pytest.mark.parametrize("labels", [LABELS.tolist(), torch.from_numpy(LABELS), LABELS])
def test_images_and_labels_of_any_kind(images, expected, labels):
    splits = open_dataset(Listed(images, labels, ["a", "b", "c", "d"]))
    assert (splits.name, splits.location) == ("Listed", "")
    assert [len(split) for split in splits] == [28, 6, 6]
    assert splits.train.class_names == ["a", "b", "c", "d"]
    for split in splits:
        for i, identity in enumerate(split.ids):
            row = int(identity.removeprefix("train/"))
            assert split[i][1] == LABELS[row]
            wanted = np.asarray(images[row].convert("L")) if expected is None else expected[row]
            assert np.array_equal(np.asarray(split[i][0]), wanted)


@pytest.mark.parametrize("kind", ["array", "big-endian", "tensor", "PIL"])
def test_whole_numbers_take_the_range_of_the_dataset(kind):
    ramps = np.stack([np.linspace(0, 1000 + label, 64).reshape(8, 8) for label in LABELS]).astype(np.uint16)
    images = {
        "array": list(ramps),
        "big-endian": list(ramps.astype(">u2")),
        "tensor": list(torch.from_numpy(ramps.astype(np.int16))[:, None]),
        "PIL": [Image.fromarray(ramp) for ramp in ramps],
    }[kind]
    splits = open_dataset({"train": Listed(images, LABELS), "eval": Listed(images[:8], LABELS[:8])})
    assert len(splits.validation) == 8
    expected = np.rint(ramps[0] * (255 / 1023))
    assert np.array_equal(np.asarray(splits.validation[0][0]), expected)
    assert "the values 0 to 1,023 become black to white" in splits.notes[0]


def test_splits_by_name_in_a_tuple_and_by_random_split():
    whole = TensorDataset(CHANNELS_FIRST, torch.from_numpy(LABELS))
    train, validation, test = random_split(whole, [24, 8, 8], generator=torch.Generator().manual_seed(0))
    splits = open_dataset((train, validation, test))
    assert [len(split) for split in splits] == [24, 8, 8]
    assert (splits.name, splits.test.ids[7]) == ("TensorDataset", "test/7")
    assert splits.train.class_names == ["0", "1", "2", "3"]
    named = open_dataset({"train": train, "val": validation, "test": test})
    assert named.fingerprint() == splits.fingerprint()
    assert [len(split) for split in open_dataset({"train": train, "test": test})] == [20, 4, 8]


def test_torchvision(tmp_path):
    folder = torchvision.datasets.ImageFolder(write_folder(tmp_path, {"cat": 10, "dog": 10}))
    splits = open_dataset(Subset(folder, range(1, 19)))
    assert splits.name == "ImageFolder"
    assert splits.train.class_names == ["cat", "dog"]
    row = int(splits.train.ids[0].removeprefix("train/"))
    image, label = folder[row + 1]
    assert splits.train[0][1] == label
    assert np.array_equal(np.asarray(splits.train[0][0]), np.asarray(image))


def test_class_names_that_are_tuples_or_repeated():
    names = open_dataset(Listed(COLOUR, LABELS, [("crane",), ("crane",), ("tench", "fish"), "x"])).train.class_names
    assert names == ["crane (0)", "crane (1)", "tench, fish", "x"]


@pytest.mark.parametrize(
    ("labels", "classes", "task", "names"),
    [
        ((LABELS / 2).tolist(), None, "auto", []),
        (torch.from_numpy(LABELS / 2)[:, None], ["a", "b"], "auto", []),
        ([0, 0.5] * 20, None, "auto", []),
        (LABELS.astype(np.float32), None, "auto", ["0", "1", "2", "3"]),
        (LABELS.astype(np.float32), list("abcd"), "auto", ["a", "b", "c", "d"]),
        (np.arange(40), None, "auto", [str(i) for i in range(40)]),
        (LABELS - 2, None, "regression", []),
        (LABELS, ["0", "1", "2", "3.0"], "regression", []),
    ],
)
def test_fractions_are_values_and_whole_numbers_classes(labels, classes, task, names):
    data = Listed(COLOUR, labels, classes)
    train = open_dataset((data, data, data), task=task).train
    assert train.class_names == names
    assert train.labels.tolist() == [float(label) for label in labels]
    assert train.labels.dtype == (np.int64 if names else np.float64)
    with pytest.raises(InputError, match="but row train/0 holds 'a'"):
        open_dataset(Listed(COLOUR, LABELS, list("abcd")), task="regression")


def test_examples_that_raise_are_listed():
    images = list(COLOUR)
    images[5] = None
    splits = open_dataset(Listed(images, LABELS))
    assert [(item.where, item.why) for item in splits.unreadable] == [("train/5", "the file is gone")]
    with pytest.raises(InputError, match=r"none were found.*train/0: the file is gone"):
        open_dataset(Listed([None] * 4, LABELS))


def test_a_dataset_may_reuse_its_memory():
    class Reusing(Listed):
        buffer = torch.empty(3, 5, 6, dtype=torch.uint8)

        def __getitem__(self, index):
            self.buffer[:] = CHANNELS_FIRST[index]
            return self.buffer, self.labels[index]

    assert open_dataset(Reusing(COLOUR, LABELS)).fingerprint() == open_dataset(Listed(COLOUR, LABELS)).fingerprint()


class Endless(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Listed(COLOUR, LABELS[:, None] / [2, 2]), "train/0 must be a number.*ndarray of shape"),
        (Listed(COLOUR, ["a"] * 40), "train/0 must be a number.*str"),
        (Listed(COLOUR, np.where(LABELS == 2, np.inf, 0.5)), "finite numbers.*row train/2 is not"),
        (Listed(COLOUR, np.full(40, 0.5)), "all 28 training examples have 0.5"),
        (Listed(COLOUR, LABELS - 1), "0 or more.*train/0"),
        (Listed(COLOUR, LABELS, ["a", "b"]), "0 to 1.*train/2"),
        (
            Listed((CHANNELS_FIRST.float() - 100) / 50, LABELS),
            "train/0 must hold numbers from 0 to 1.*leave standardizing",
        ),
        (Listed(["x.png"] * 40, LABELS), "train/0 must be an image.*str"),
        (Listed(CHANNELS_FIRST.flatten(1), LABELS), "train/0 must hold images.*they are 90"),
        (TensorDataset(CHANNELS_FIRST), "train/0 must be a pair.*tuple of 1"),
        (Endless(), "length"),
        (({"train": [1, 2]}), "'train' is of type list"),
        ({"holdout": Listed(COLOUR, LABELS)}, "'holdout' is of type Listed"),
        ((Listed(COLOUR, LABELS), Listed(COLOUR, LABELS)), "'train' is of type tuple"),
        ({"train": Listed(COLOUR, LABELS, list("abcd")), "test": Listed(COLOUR, LABELS, list("abce"))}, "differ"),
        (dict.fromkeys(("train", "val", "valid"), Listed(COLOUR, LABELS)), "it has val and valid: rename"),
        (dict.fromkeys(("train", "Train"), Listed(COLOUR, LABELS)), "it has train and Train: rename"),
        (
            Listed(np.where(COLOUR > 100, np.nan, COLOUR / 255.0), LABELS),
            "train/0 must hold finite.*holds nan",
        ),
        (3, "'train' is of type int"),
    ],
)
def test_other_objects_are_refused_in_one_sentence(data, message):
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(data)
    assert "\n" not in str(caught.value)
