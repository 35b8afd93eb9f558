"""What is the same for every format: splits, subsets, names, fingerprints, progress."""

import time
from collections import Counter

import numpy as np
import pytest

from attribution_core.datasets import BUILTIN_DATASETS, open_dataset
from attribution_core.datasets.inspection import inspect
from attribution_core.errors import InputError
from attribution_core.progress import listening
from tests.support.builders import write_folder


def test_digits():
    splits = open_dataset("digits")
    assert [len(split) for split in splits] == [1257, 270, 270]
    assert (splits.name, splits.location) == ("digits", "")
    image, label = splits.train[0]
    assert (image.mode, image.size) == ("L", (8, 8))
    assert label == splits.train.labels[0]
    assert np.asarray(image).max() > 200  # 0..16 fills 0..255
    assert splits.train.source(0) is None
    assert splits.train.groups.shape == (1257, 0)


def test_splits_are_stratified_disjoint_and_seeded():
    first, again, other = (open_dataset("digits", seed=seed) for seed in (0, 0, 1))
    assert [split.ids for split in first] == [split.ids for split in again]
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len({identity for split in first for identity in split.ids}) == 1797
    for split in first:
        shares = np.bincount(split.labels) / len(split)
        assert np.abs(shares - 0.1).max() < 0.01


def test_fractions():
    splits = open_dataset("digits", validation_fraction=0.05, test_fraction=0.4)
    assert [len(split) for split in splits] == [988, 90, 719]
    for fractions in ((0, 0.5), (0.5, 0.5), (-0.1, 0.2)):
        with pytest.raises(InputError, match="fractions"):
            open_dataset("digits", validation_fraction=fractions[0], test_fraction=fractions[1])


def test_max_train_draws_a_stratified_seeded_subset():
    whole = open_dataset("digits")
    few, again = (open_dataset("digits", max_train=105) for _ in range(2))
    assert few.train.ids == again.train.ids
    assert set(few.train.ids) < set(whole.train.ids)
    assert few.test.ids == whole.test.ids
    assert set(Counter(few.train.labels.tolist()).values()) <= {10, 11}
    assert any("105 of the 1,257" in note for note in few.notes)
    assert len(open_dataset("digits", max_train=10**6).train) == 1257
    with pytest.raises(InputError, match="ask for 10 or more"):
        open_dataset("digits", max_train=9)


def test_rare_classes_survive_a_subset(tmp_path):
    splits = open_dataset(write_folder(tmp_path, {"many": 60, "few": 2, "one": 1}), max_train=5)
    assert set(splits.train.labels) == {0, 1, 2}
    assert len(splits.train) == 5


def test_too_few_images_to_set_any_aside(tmp_path):
    with pytest.raises(InputError, match="enough examples to set one aside"):
        open_dataset(write_folder(tmp_path, {"a": 1, "b": 1}))


def test_a_missing_path_names_the_builtin_datasets(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.*fashion-demo, digits"):
        open_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("data", ["x" * 5000, "~nobody-of-this-name/data", "loop"])
def test_a_path_that_cannot_be_followed_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"cannot be read|There is no file or folder"):
        open_dataset(data)


def test_an_empty_folder_says_what_is_expected(tmp_path):
    (tmp_path / "flat.png").touch()
    with pytest.raises(InputError, match=r"IDX.*Parquet.*subfolder.*digits"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="No dataset was found"):
        open_dataset(tmp_path / "flat.png")


def test_a_path_wins_over_a_name_when_it_is_written_as_a_path(tmp_path, monkeypatch):
    write_folder(tmp_path / "digits", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    assert open_dataset("digits").train.class_names[0] == "0"
    assert open_dataset("./digits").train.class_names == ["a", "b"]


def test_builtin_datasets_are_described():
    assert [known.name for known in BUILTIN_DATASETS] == ["fashion-demo", "digits"]
    assert all(
        known.description and known.license and known.source.startswith("https://") for known in BUILTIN_DATASETS
    )


def test_subset():
    train = open_dataset("digits").train
    mask = train.labels == 3
    for picked in (train.subset(mask), train.subset(np.flatnonzero(mask)), train.subset(np.flatnonzero(mask).tolist())):
        assert set(picked.labels) == {3}
        assert len(picked) == mask.sum() == len(picked.ids) == len(picked.sizes) == len(picked.groups)
        assert picked.class_names == train.class_names
    assert len(train.subset([])) == 0
    with pytest.raises(IndexError):
        train.subset([len(train)])


def test_progress_is_reported_seldom_and_at_the_end(tmp_path):
    calls = []
    began = time.monotonic()
    with listening(lambda *call: calls.append(call)):
        open_dataset(write_folder(tmp_path, {"a": 40, "b": 40}))
    assert calls[-1] == (80, 80, "checking images")
    assert len(calls) <= 2 + 20 * (time.monotonic() - began)


def test_an_interrupt_does_not_wait_for_decoding():
    looked_at = []

    class Slow:
        def encoded(self):
            looked_at.append(self)
            time.sleep(0.005)

        def decoded(self):
            raise ValueError("no image")

    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(stop):
        inspect([Slow() for _ in range(3000)])
    assert len(looked_at) < 1500
