"""Texts are judged by TF-IDF or by a sentence encoder, whichever has the lower leave-one-out loss."""

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.preparation import prepare as prepare_module
from attribution_core.preparation import representations as representations_module
from attribution_core.preparation.prepare import prepare
from attribution_core.preparation.representations import representations
from attribution_core.runs import Run
from attribution_core.runs.thumbnails import write_pack
from tests.support.scored import ONLY_INFORMATION
from tests.support.tables import make_table, make_texts, write_table


@pytest.fixture
def texts(tmp_path):
    """Sentences whose words say nothing of the label."""
    frame = make_texts()
    words = ["one", "two", "three"]
    return write_table(
        frame.assign(text=[f"a film of {words[i % 3]} parts" for i in range(len(frame))]), tmp_path / "t.csv"
    )


@pytest.fixture
def encoder(monkeypatch):
    """An encoder that is installed and knows the labels; the calls of it."""
    calls = []

    def encode(splits, name, device):
        calls.append((list(splits), name, device))
        generator = torch.Generator().manual_seed(0)
        noise = {each: 0.1 * torch.randn(len(part), 3, generator=generator) for each, part in splits.items()}
        return {each: rows + torch.eye(3)[splits[each].targets] for each, rows in noise.items()}

    monkeypatch.setattr(prepare_module, "has_minilm", lambda: True)
    monkeypatch.setattr(representations_module, "text_features", encode)
    return calls


def test_the_better_of_tfidf_and_the_installed_encoder_judges_and_the_candidates_are_printed(
    texts, encoder, tmp_path, capsys
):
    off = [option for name in ONLY_INFORMATION for option in (f"--{name}", "off")]
    assert main(["score", str(texts), "--epochs", "1", "--map", "off", *off, "--out", str(tmp_path / "run")]) == 0
    assert encoder == [(["train", "validation", "test"], "minilm", "cpu")]
    run = Run.open(tmp_path / "run")
    assert run.manifest.config["encoder"] == "auto"
    details = run.manifest.details["label_quality"]
    assert details["features"] == "vectors of minilm"
    kernels = {"TF-IDF": ("linear", "ntk"), "vectors of minilm": ("linear", "ntk", "laplace")}
    assert set(details["candidates"]) == {f"{kernel} kernel of {kind}" for kind in kernels for kernel in kernels[kind]}
    assert details["candidates"][details["chosen"]] == min(details["candidates"].values())
    assert details["shares"] == {details["chosen"]: 1.0}
    printed = capsys.readouterr().out
    assert "held-out loss (nats)" in printed
    assert f"{details['chosen']} (chosen)" in printed
    assert all(f"{loss:.4f}" in printed for loss in details["candidates"].values())
    assert (run.evaluation["suggested_label"] == run.evaluation["label"]).mean() > 0.9


def test_an_encoder_that_was_named_or_is_missing_leaves_no_choice(texts, encoder, monkeypatch):
    named = prepare(ac.ScoreConfig(data=str(texts), encoder="tfidf"))
    assert list(representations(named, {})) == ["TF-IDF"]
    monkeypatch.setattr(prepare_module, "has_minilm", lambda: False)
    missing = prepare(ac.ScoreConfig(data=str(texts)))
    assert missing.config.encoder == "tfidf"
    assert list(representations(missing, {})) == ["TF-IDF"]
    assert encoder == []


def test_texts_that_share_no_words_are_judged_by_the_encoder_that_was_named(tmp_path, monkeypatch):
    frame = make_texts(20)
    words = frame.assign(text=[f"word{i}x" for i in range(len(frame))])
    data = str(write_table(words, tmp_path / "t.csv"))
    monkeypatch.setattr(
        prepare_module, "text_features", lambda splits, *_: {each: torch.ones(len(splits[each]), 2) for each in splits}
    )
    prepared = prepare(ac.ScoreConfig(data=data, encoder="folder", model="linear"))
    assert list(representations(prepared, {})) == ["the encoder's vectors"]
    with pytest.raises(InputError, match="TF-IDF needs texts that share words"):
        representations(prepare(ac.ScoreConfig(data=data, encoder="tfidf", model="linear")), {})


def test_other_data_has_no_encoder_to_choose(encoder, tmp_path):
    table = prepare(ac.ScoreConfig(data=str(write_table(make_table(), tmp_path / "t.csv"))))
    assert table.config.encoder == "tfidf"


def test_pixels_of_photographs_come_from_the_thumbnails_of_the_run(tmp_path, monkeypatch):
    rows, columns = np.mgrid[:160, :200]
    images = [np.stack([rows + 3 * i, columns, 255 - 8 * i + 0 * rows], axis=-1) for i in range(30)]
    np.savez(tmp_path / "data.npz", images=np.array(images).astype(np.uint8), labels=np.arange(30) % 2)
    config = ac.ScoreConfig(data=str(tmp_path / "data.npz"), model="linear", image_size=24)
    decoded = representations(prepare(config), {})["pixels"]
    prepared = prepare(config, run=tmp_path / "run")
    train, validation, test = prepared.splits
    (tmp_path / "run" / "thumbnails").mkdir(parents=True)
    for name, parts in (("train", [train]), ("evaluation", [validation, test])):
        pictures = [part[i][0] for part in parts for i in range(len(part))]
        write_pack(tmp_path / "run", name, pictures)

    def decode(*_args, **_options):
        raise AssertionError("the photographs were decoded again")

    monkeypatch.setattr(representations_module, "as_tensors", decode)
    found = representations(prepared, {})["pixels"]
    for name, expected in decoded.items():
        given = found[name].unflatten(1, (24, 24, 3)).permute(0, 3, 1, 2).flatten(1)
        assert (given * expected).sum(dim=1).min() > 0.995
        other = expected.roll(1, 0)
        assert (given - expected).norm(dim=1).max() < (given - other).norm(dim=1).min()
