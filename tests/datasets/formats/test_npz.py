"""NumPy archives as Keras, MedMNIST and users write them."""

import numpy as np
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (40, 5, 6), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def write(path, **arrays):
    np.savez(path / "d.npz", **arrays)
    return path / "d.npz"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (COLOUR, COLOUR),
        (np.moveaxis(COLOUR, 3, 1), COLOUR),
        (COLOUR.astype(np.float32) / 255, COLOUR),
        (COLOUR.astype(np.float64), COLOUR),
        (GREY.astype(np.int32), GREY),
    ],
)
def test_pixels_are_read_in_any_usual_form(tmp_path, images, expected):
    splits = open_dataset(write(tmp_path, x_train=images, y_train=LABELS, x_test=images[:8], y_test=LABELS[:8, None]))
    assert [len(split) for split in splits] == [34, 6, 8]
    assert splits.train.mode == ("L" if expected.ndim == 3 else "RGB")
    assert splits.test.ids[3] == "test-000003"
    for split in splits:
        for i, identity in enumerate(split.ids):
            row = int(identity.split("-")[1])
            assert np.array_equal(np.asarray(split[i][0]), expected[row])
            assert split[i][1] == LABELS[row]
    assert any("rounded" in note for note in splits.notes) == (images.dtype.kind == "f")


def pixels_of(splits):
    by_id = {id_: np.asarray(part[i][0]) for part in splits for i, id_ in enumerate(part.ids)}
    return np.stack([by_id[id_] for id_ in sorted(by_id)])


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int16, ">i2", np.int32, np.int64])
@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [(0, 1023, "0 to 1,023"), (0, 4000, "0 to 4,095"), (-1000, 1000, "-1,024 to 1,023"), (0, 255, "")],
)
def test_whole_numbers_take_the_range_of_the_dataset(tmp_path, dtype, low, high, levels):
    if low < 0 and np.dtype(dtype).kind == "u":
        low, high, levels = 500, 1500, "384 to 1,535"
    images = np.linspace(low, high, GREY.size).reshape(GREY.shape).astype(dtype)
    splits = open_dataset(write(tmp_path, x=images, y=LABELS))
    found = pixels_of(splits)
    assert len(np.unique(found)) > 150
    assert (np.diff(found.ravel().astype(int)) >= 0).all()
    notes = [note for note in splits.notes if "black to white" in note]
    if not levels:
        assert not notes
        assert np.array_equal(found, images)
        return
    assert f"the values {levels} become black to white" in notes[0]
    black, white = (float(bound.replace(",", "")) for bound in levels.split(" to "))
    expected = np.rint((images.astype(float) - black) * 255 / (white - black))
    assert np.array_equal(found, expected)


def test_one_range_of_whole_numbers_holds_for_all_splits(tmp_path):
    dark, bright = GREY.astype(np.uint16), GREY.astype(np.uint16) * 4
    splits = open_dataset(write(tmp_path, x_train=dark, y_train=LABELS, x_test=bright, y_test=LABELS))
    assert max(np.asarray(splits.train[i][0]).max() for i in range(len(splits.train))) < 70
    assert max(np.asarray(splits.test[i][0]).max() for i in range(len(splits.test))) > 240


@pytest.mark.parametrize("dtype", [np.float16, ">f2", np.float32, ">f4", np.float64])
@pytest.mark.parametrize("largest", [1, 255])
def test_fractions_of_every_precision(tmp_path, dtype, largest):
    images = (GREY / 255 * largest).astype(dtype)
    found = pixels_of(open_dataset(write(tmp_path, x=images, y=LABELS)))
    assert np.array_equal(found, np.rint(images.astype(np.float64) * 255 / largest))


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (("train", "val", "test"), (40, 8, 4)),
        (("TRAIN", "VALID", "TEST"), (40, 8, 4)),
        (("train", "dev", "eval"), (40, 8, 4)),
        (("training", "eval", "testing"), (40, 8, 4)),
    ],
)
def test_splits_by_every_usual_name(tmp_path, words, sizes):
    arrays = {}
    for word, size in zip(words, sizes, strict=True):
        arrays |= {f"x_{word}": GREY[:size], f"y_{word}": LABELS[:size]}
    splits = open_dataset(write(tmp_path, **arrays))
    assert tuple(len(part) for part in splits) == sizes


def test_medmnist_and_unsplit_arrays(tmp_path):
    parts = {f"{split}_images": GREY[:n] for split, n in (("train", 20), ("val", 12), ("test", 8))}
    parts |= {f"{split}_labels": LABELS[:n, None] for split, n in (("train", 20), ("val", 12), ("test", 8))}
    assert [len(part) for part in open_dataset(write(tmp_path, **parts))] == [20, 12, 8]
    assert [len(part) for part in open_dataset(write(tmp_path, x=GREY, y=LABELS))] == [28, 6, 6]
    split = np.array(["train"] * 20 + ["Val"] * 12 + ["test"] * 8)
    splits = open_dataset(write(tmp_path, images=GREY, labels=LABELS, split=split))
    assert [len(part) for part in splits] == [20, 12, 8]
    assert splits.test.ids[0] == "row-000032"


def test_class_names(tmp_path):
    names = np.array(["d", "c", "b", "a", "never"])
    splits = open_dataset(write(tmp_path, x=GREY, y=LABELS, class_names=names))
    assert splits.train.class_names == ["d", "c", "b", "a"]
    splits = open_dataset(write(tmp_path, x=GREY, y=names[LABELS]))
    assert splits.train.class_names == ["a", "b", "c", "d"]
    assert open_dataset(write(tmp_path, x=GREY, y=LABELS + 8)).train.class_names == ["8", "9", "10", "11"]


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (LABELS / 2, "auto", []),
        (LABELS.astype(np.float32)[:, None], "auto", ["0", "1", "2", "3"]),
        (np.arange(40) - 10.0, "auto", []),
        (np.arange(40), "auto", [str(i) for i in range(40)]),
        (LABELS - 2, "regression", []),
        ((LABELS / 4).astype(str), "regression", []),
    ],
)
def test_floats_are_values_and_whole_numbers_classes(tmp_path, labels, task, classes):
    everywhere = {f"{axis}_{split}": each for split in ("train", "test") for axis, each in (("x", GREY), ("y", labels))}
    everywhere |= {"x_val": GREY[:20], "y_val": labels[20:]}
    splits = open_dataset(write(tmp_path, **everywhere), task=task)
    assert splits.train.class_names == classes
    if not classes:
        assert splits.train.labels.tolist() == labels.astype(float).tolist()
        assert splits.validation.labels.tolist() == labels[20:].astype(float).tolist()
        assert splits.test.values.name == "label"
    assert any("whole numbers, which are taken as values" in note for note in splits.notes) == (labels[0] == -10)


def test_numbers_with_names_take_the_named_values(tmp_path):
    path = write(tmp_path, x=GREY, y=LABELS, class_names=np.array(["0.5", "10", "20", "30"]))
    assert set(open_dataset(path, task="regression").train.labels) == {0.5, 10, 20, 30}
    assert len(open_dataset(path).train.class_names) == 4
    write(tmp_path, x=GREY, y=LABELS / 2, class_names=np.array(["a", "b"]))
    assert open_dataset(path).fingerprint() == open_dataset(path, task="regression").fingerprint()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": GREY}, "x_train and y_train.*it has a: rename"),
        ({"x_train": GREY}, "an array y_train beside x_train"),
        ({"x": GREY, "y": LABELS, "x_train": GREY, "y_train": LABELS}, "needs arrays called"),
        (
            {"x_val": GREY, "y_val": LABELS, "x_valid": GREY, "y_valid": LABELS},
            "x_valid and x_val: rename or",
        ),
        ({"x_test": GREY, "y_test": LABELS, "test_images": GREY, "test_labels": LABELS}, "x_test and test_images"),
        ({"x": GREY, "y": LABELS, "split": np.array(["train", "val", "valid", "test"] * 10)}, "it has val and valid"),
        ({"x": GREY, "y": LABELS[:-1]}, "39 and 40"),
        ({"x": GREY, "y": np.eye(4)[LABELS]}, "float64 of shape 40 x 4"),
        ({"x": GREY, "y": LABELS - 1}, "0 or more.*row 0 has -1"),
        ({"x": GREY, "y": LABELS > 1}, "one number or text for each image.*bool"),
        ({"x": GREY, "y": np.where(LABELS == 2, np.nan, 0.5)}, "finite numbers.*row row-000002 is not"),
        ({"x": GREY, "y": np.full(40, 0.5)}, "all 28 training examples have 0.5"),
        ({"x_train": GREY, "y_train": LABELS.astype(str), "x_test": GREY, "y_test": LABELS / 2}, "row 1 has 0.5"),
        ({"x": GREY, "y": LABELS, "class_names": np.array(["a", "b", "c"])}, "0 to 2.*row 3 has 3"),
        ({"x": GREY, "y": LABELS, "class_names": np.array(["a", "a", "b", "c"])}, "different texts"),
        (
            {"x": GREY, "y": np.array(list("abcd"))[LABELS], "class_names": np.array(["a", "b", "c"])},
            "name every label, but 'd' is missing",
        ),
        ({"x": GREY, "y": LABELS, "split": np.array(["holdout"] * 40)}, "row 0 holds 'holdout'"),
        ({"x": GREY / -255, "y": LABELS}, "must hold numbers from 0 to 1.*numbers from -1 to"),
        ({"x": GREY * 2.0, "y": LABELS}, "must hold numbers from 0 to 255.*holds numbers from"),
        ({"x": np.where(GREY > 100, np.nan, GREY), "y": LABELS}, "x of .*d.npz must hold finite.*holds nan in image"),
        (
            {"x": np.where(GREY > 100, np.inf, GREY), "y": LABELS},
            "holds inf in image [0-9]+ at .*no pixels",
        ),
        ({"x": np.repeat(GREY[..., None], 4, axis=3), "y": LABELS}, "they are 5 x 6 x 4"),
        ({"x": GREY[:, :0], "y": LABELS}, "they are 0 x 6"),
        ({"x": GREY.reshape(40, -1), "y": LABELS}, "they are 30"),
        ({"x": GREY.astype(str), "y": LABELS}, "must hold numbers"),
        ({"x": GREY > 100, "y": LABELS}, "must hold numbers.*bool"),
        ({"x": np.array([None] * 40), "y": LABELS}, "plain arrays.*pickle"),
    ],
)
def test_faulty_arrays_are_refused_in_one_sentence(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(write(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_damaged_archives_are_refused(tmp_path):
    path = write(tmp_path, x=GREY, y=LABELS)
    whole = path.read_bytes()
    for data in (b"", b"nothing", whole[:200], whole[:300] + bytes(50) + whole[350:], b"\x93NUMPY"):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"cannot be read as an \.npz file"):
            open_dataset(path)
