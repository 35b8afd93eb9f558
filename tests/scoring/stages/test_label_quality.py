"""Every example of every split has a label quality, of features that no label has shaped."""

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.preparation.prepare import prepare
from attribution_core.preparation.representations import representations
from attribution_core.scoring.score import score
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages import label_quality as label_quality_stage
from tests.support.scored import quick
from tests.support.tables import make_texts, write_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    off = dict.fromkeys(("contributions", "sensitivity", "influence"), "off")
    return score(quick(tmp_path_factory.mktemp("quality"), max_train=120, **off))


def test_all_splits_have_quality_and_suggestions(run):
    for table in (run.examples, run.evaluation):
        assert table["label_quality"].between(0, 1).all()
        assert set(table["suggested_label"]) <= set(range(10))
        assert (table["suggested_name"] == np.array(run.class_names)[table["suggested_label"]]).all()
        assert (table["suggested_confidence"] >= table["label_quality"] - 1e-6).all()
    assert (run.evaluation["suggested_label"] == run.evaluation["label"]).mean() > 0.8


def test_it_is_what_the_function_says_of_the_pixels(run):
    prepared = prepare(quick(run.path, max_train=120))
    pixels = representations(prepared, prepared.tensors_by_split())["pixels"]
    assert torch.allclose(pixels["train"].norm(dim=1), torch.ones(120))
    labels = torch.tensor(run.examples["label"].to_numpy())
    found = ac.label_quality(pixels["train"], labels, classes=10)
    assert np.allclose(run.examples["label_quality"], found.quality.double(), atol=1e-5)
    details = run.manifest.details["label_quality"]
    assert details["features"] == "pixels"
    assert set(details["candidates"]) == {f"{kernel} kernel of pixels" for kernel in ("linear", "ntk", "laplace")}
    assert details["shares"] == {details["chosen"]: 1.0}


def test_the_groups_of_the_data_are_as_before(run):
    assert run.groups == []


def test_images_larger_than_needed_are_shrunk(run):
    prepared = prepare(quick(run.path, max_train=120))
    larger = dataclasses.replace(prepared, source=dataclasses.replace(prepared.source, input_shape=(1, 128, 64)))
    assert representations(larger, {})["pixels"]["train"].shape == (120, 32 * 16)


@pytest.mark.parametrize("kind", ["text", "table"])
def test_texts_and_tables_have_their_own_features(tmp_path, kind):
    words = {"good": "a fine and moving film number", "bad": "a dull and empty film number"}
    rows = [(label, words[label], i) for i in range(30) for label in words]
    if kind == "text":
        lines = ["text,label", *(f"{text} {i % 7},{label}" for label, text, i in rows)]
    else:
        lines = [
            "size,weight,label",
            *(f"{i + 40 * (label == 'bad')},{(7 * i) % 11}.5,{label}" for label, _, i in rows),
        ]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    prepared = prepare(ac.ScoreConfig(data=str(tmp_path / "data.csv")))
    found = representations(prepared, prepared.tensors_by_split())
    assert list(found) == ["TF-IDF" if kind == "text" else "columns"]
    run = score(
        ac.ScoreConfig(
            data=str(tmp_path / "data.csv"),
            out=tmp_path / "run",
            map="off",
            contributions="off",
            sensitivity="off",
            influence="off",
            recipe=ac.Recipe(epochs=1),
        )
    )
    assert (run.examples["suggested_label"] == run.examples["label"]).mean() > 0.9


def test_the_time_of_the_sentence_encoder_is_that_of_loading_it_and_of_every_text(tmp_path, monkeypatch):
    prepared = prepare(quick(tmp_path, data=str(write_table(make_texts(100), tmp_path / "t.csv"))))
    probe = SimpleNamespace(prepared=prepared, sizes=RunSizes(prepared), device="cpu")
    calls = []

    def encode(splits, encoder, device):
        assert (encoder, device) == ("minilm", "cpu")
        calls.append(len(splits["train"]))
        time.sleep(0.05 * (len(calls) == 1) + 0.001 * calls[-1])

    monkeypatch.setattr(label_quality_stage, "text_features", encode)
    found = label_quality_stage._seconds_to_encode(probe)
    assert calls == [1, 1, 64]
    assert found == pytest.approx(0.051 + 0.001 * 100, rel=0.5)
