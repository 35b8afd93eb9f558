"""The demo dataset that ships: its counts, planted wrong labels and license, and that its script builds it."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.decoding import decode

DEMO = Path(__file__).parent.parent / "assets" / "demo"
# The folder with the IDX files of Fashion-MNIST, for the one test that rebuilds the demo from them.
IDX = os.environ.get("SAMPLESCOPE_FASHION_MNIST")


@pytest.fixture(scope="module")
def splits():
    return open_dataset("fashion-demo")


def test_counts_and_classes(splits):
    assert [len(split) for split in splits] == [2000, 1000, 1000]
    assert splits.unreadable == []
    assert splits.train.mode == "L"
    assert len(splits.train.class_names) == 10
    for split in splits:
        assert np.unique(split.sizes, axis=0).tolist() == [[28, 28]]
        assert split.groups["original_label"].value_counts().tolist() == [len(split) // 10] * 10


def test_exactly_five_per_cent_of_the_training_labels_are_wrong(splits):
    for split, wrong in zip(splits, (100, 0, 0), strict=True):
        given = np.array(split.class_names)[split.labels]
        assert (given != split.groups["original_label"]).sum() == wrong
    assert any("100 of the 2,000" in note for note in splits.notes)


def test_train_and_validation_come_from_the_60000_and_test_from_the_10000(splits):
    assert all(i.startswith("train-") for i in splits.train.ids + splits.validation.ids)
    assert all(i.startswith("t10k-") for i in splits.test.ids)
    assert len({i for split in splits for i in split.ids}) == 4000


def test_the_file_is_small_and_follows_the_hugging_face_convention():
    path = DEMO / "fashion-demo.parquet"
    assert path.stat().st_size < 3_000_000
    schema = pq.read_schema(path)
    assert schema.names == ["id", "image", "label", "original_label", "split"]
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["names"][9] == "Ankle boot"


def test_the_license_of_fashion_mnist_is_beside_it():
    text = (DEMO / "LICENSE-fashion-mnist").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The above copyright notice and this permission notice shall be included" in text


@pytest.mark.skipif(IDX is None, reason="SAMPLESCOPE_FASHION_MNIST names no folder with the IDX files")
def test_the_script_builds_the_same_rows():
    spec = importlib.util.spec_from_file_location("build_demo", DEMO / "build_demo.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    built, shipped = script.build(Path(IDX)), pq.read_table(DEMO / "fashion-demo.parquet")
    assert built.drop_columns("image").equals(shipped.drop_columns("image"))
    for new, old in zip(built["image"].to_pylist(), shipped["image"].to_pylist(), strict=True):
        assert new["path"] == old["path"]
        # Compare pixels: another version of zlib may compress differently.
        assert decode(new["bytes"]).tobytes() == decode(old["bytes"]).tobytes()
