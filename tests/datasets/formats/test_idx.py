"""IDX files, whole and damaged."""

import gzip

import numpy as np
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from tests.support.builders import write_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 6), dtype=np.uint8)
LABELS = np.arange(40) % 4


def write(folder, suffix="", test=True, joint="-"):
    write_idx(folder / f"train-images{joint}idx3-ubyte{suffix}", IMAGES)
    write_idx(folder / f"train-labels{joint}idx1-ubyte{suffix}", LABELS)
    if test:
        write_idx(folder / f"t10k-images{joint}idx3-ubyte{suffix}", IMAGES[:8])
        write_idx(folder / f"t10k-labels{joint}idx1-ubyte{suffix}", LABELS[:8])
    return folder


@pytest.mark.parametrize(("suffix", "joint"), [("", "-"), (".gz", "-"), ("", ".")])
def test_images_labels_and_ids(tmp_path, suffix, joint):
    splits = open_dataset(write(tmp_path, suffix, joint=joint))
    assert [len(split) for split in splits] == [34, 6, 8]
    assert splits.test.ids[3] == "test-000003"
    assert splits.train.mode == "L"
    assert splits.train.class_names == ["0", "1", "2", "3"]
    for split in (splits.train, splits.validation):
        for i, identity in enumerate(split.ids):
            row = int(identity.removeprefix("train-"))
            image, label = split[i]
            assert np.array_equal(np.asarray(image), IMAGES[row])
            assert label == LABELS[row]
            assert split.source(i) is None


def test_without_test_files_a_test_split_is_set_aside(tmp_path):
    assert [len(split) for split in open_dataset(write(tmp_path, test=False))] == [28, 6, 6]


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for data, message in [
        (whole[:-1], "must hold 1,200 bytes.*40 x 5 x 6.*it holds 1,199"),
        (whole + b"x", "it holds more"),
        (whole[:9], "begins 00 00 08 03"),
        (b"", "is empty"),
        (b"\x00\x00\x0d\x03" + whole[4:], "begins 00 00 0d 03"),
        (b"\x00\x00\x08\x01" + whole[4:], "begins 00 00 08 01"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_dataset(tmp_path)


def test_damaged_gzip_is_refused(tmp_path):
    path = write(tmp_path, ".gz") / "train-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole[:-12], b"not gzip", gzip.compress(b"")[:5]):
        path.write_bytes(data)
        with pytest.raises(InputError, match="train-labels"):
            open_dataset(tmp_path)


def test_a_missing_partner_is_named(tmp_path):
    (write(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="needs a file t10k-labels-idx1-ubyte"):
        open_dataset(tmp_path)


def test_partners_of_different_length_are_refused(tmp_path):
    write_idx(write(tmp_path) / "train-labels-idx1-ubyte", LABELS[:-1])
    with pytest.raises(InputError, match=r"40 images.*39 labels"):
        open_dataset(tmp_path)
