"""Images to tensors: shapes, scaling, resizing and statistics."""

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_core.datasets import (
    Statistics,
    as_tensors,
    common_size,
    images,
    inspection,
    open_dataset,
    pixel_statistics,
)
from attribution_core.errors import InputError
from attribution_core.progress import listening
from tests.support.builders import encoded, write_folder


@pytest.fixture
def train(tmp_path):
    return open_dataset(write_folder(tmp_path, {"a": 10, "b": 10})).train


def test_pixels_are_scaled_and_channels_come_first(train):
    inputs, targets = as_tensors(train, size=None, statistics=None)
    assert inputs.shape == (14, 3, 8, 8)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert targets.tolist() == train.labels.tolist()
    for i in (0, 13):
        assert np.array_equal(np.rint(inputs[i].numpy() * 255), np.asarray(train[i][0]).transpose(2, 0, 1))


def test_statistics_are_those_of_the_pixels(train):
    pixels = np.stack([np.asarray(train[i][0]) for i in range(len(train))]) / 255
    statistics = pixel_statistics(train)
    assert statistics.mean == pytest.approx(pixels.mean((0, 1, 2)))
    assert statistics.std == pytest.approx(pixels.std((0, 1, 2)))
    inputs, _ = as_tensors(train, size=None, statistics=statistics)
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-6
    assert (inputs.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_statistics_of_resized_images_are_those_of_the_tensors(train):
    statistics = pixel_statistics(train, size=(5, 4))
    inputs, _ = as_tensors(train, size=(5, 4), statistics=statistics)
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-6


def test_a_constant_channel_stays_finite(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("L", (4, 4), 80).save(tmp_path / name / f"{number}.png")
    train = open_dataset(tmp_path).train
    statistics = pixel_statistics(train)
    assert statistics == Statistics(mean=(pytest.approx(80 / 255),), std=(1.0,))
    assert as_tensors(train, size=None, statistics=statistics)[0].abs().max() < 1e-6


def test_resizing_averages_instead_of_skipping(tmp_path):
    board = np.indices((32, 32)).sum(0) % 2 * 255
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.fromarray(board.astype(np.uint8)).save(tmp_path / name / f"{number}.png")
    inputs, _ = as_tensors(open_dataset(tmp_path).train, size=(4, 8), statistics=None)
    assert inputs.shape[1:] == (1, 4, 8)
    assert (inputs - 0.5).abs().max() < 0.02


def test_several_sizes_require_a_size(tmp_path):
    write_folder(tmp_path, {"a": 10, "b": 10})
    for number in range(10):
        (tmp_path / "a" / f"wide{number}.png").write_bytes(encoded(number, size=(6, 20)))
    train = open_dataset(tmp_path).train
    with pytest.raises(InputError, match=r"2 sizes \(height x width\): 8 x 8 \(15 images\), 6 x 20 \(7 images\); give"):
        as_tensors(train, size=None, statistics=None)
    assert as_tensors(train, size=(6, 20), statistics=None)[0].shape == (22, 3, 6, 20)


def test_common_size(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    for number in range(5):
        (tmp_path / "a" / f"{number}.png").write_bytes(encoded(number, size=(8, 8)))
    assert common_size(open_dataset(tmp_path).train) == (8, 8)
    for name in "ab":
        for number in range(20):
            (tmp_path / name / f"{number}.png").write_bytes(encoded(number, size=(99 + number // 10, 200)))
    assert common_size(open_dataset(tmp_path).train) == (32, 64)


def test_one_large_size_is_kept(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            (tmp_path / name / f"{number}.png").write_bytes(encoded(number, size=(90, 70)))
    assert common_size(open_dataset(tmp_path).train) == (90, 70)


def test_progress(train):
    calls = []
    with listening(lambda *call: calls.append(call)):
        as_tensors(train, size=None, statistics=None)
    assert calls[-1] == (14, 14, "reading images")


def test_pixels_are_decoded_once_if_all_images_are_small(tmp_path, monkeypatch):
    path = write_folder(tmp_path, {"a": 20, "b": 20})
    small = open_dataset(path).train
    expected = as_tensors(small, size=(8, 8), statistics=None)[0]

    def decoded(*_):
        raise AssertionError("it was decoded again")

    monkeypatch.setattr(images, "decode", decoded)
    for size in ((8, 8), (4, 4), (8, 8)):
        found = as_tensors(small, size=size, statistics=None)[0]
        found += 1  # what is returned is the caller's own
        assert torch.equal(as_tensors(small, size=size, statistics=None)[0] + 1, found)
    assert torch.equal(as_tensors(small, size=(8, 8), statistics=None)[0], expected)
    assert small[0][0] is not small[0][0]
    monkeypatch.undo()
    monkeypatch.setattr(inspection, "MOST_KEPT", 20 * (8 * 8 * 3 + 1000))
    large = open_dataset(path).train
    monkeypatch.setattr(images, "decode", decoded)
    with pytest.raises(AssertionError, match="decoded again"):
        as_tensors(large, size=(8, 8), statistics=None)
