"""Test the parts of the F-SI studies on problems of seconds, and that each can find that a statement fails."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.experiments.unique_information import (
    adversarial,
    agreement,
    extremes,
    film_reviews,
    pretraining,
    sources,
    subclasses,
)
from attribution_core.experiments.unique_information.common import (
    digits,
    histogram,
    information,
    over_seeds,
    two_groups,
)
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from attribution_core.training import outputs_of
from tests.support.builders import encoded, write_idx, write_parquet


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Write tiny synthetic versions of MNIST, CIFAR-10, a table and film reviews."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 90)
    images = [encoded(row, size=(32, 32)) for row in range(len(labels))]
    write_parquet(root / "cifar10" / "train.parquet", labels.tolist(), images=images)
    for split, count in (("train", 200), ("t10k", 20)):
        write_idx(root / "mnist" / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        write_idx(root / "mnist" / f"{split}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    (root / "uci").mkdir()
    np.savetxt(root / "uci" / "concrete.txt", rng.normal(size=(60, 9)))
    (root / "text").mkdir()
    for name, words in zip(film_reviews.FILES, ("dull bad slow long", "great fine warm bright"), strict=True):
        lines = [" ".join(rng.choice([*words.split(), "the", "film", "is"], 3 + i % 5)) for i in range(40)]
        (root / "text" / name).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def cifar(data_root):
    return open_dataset(data_root / "cifar10")


def verdict_of(experiment, data_root, out, capsys, *arguments):
    """Run an experiment, check the files it wrote, and return its last line."""
    assert experiment.main([*arguments, "--data-root", str(data_root), "--out", str(out)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(lines[-1]) >= {"experiment", "statement", "holds", "holds_at_t"}
    assert isinstance(lines[-1]["holds"], bool)
    name = lines[-1]["experiment"]
    assert json.loads((out / f"{name}.json").read_text())["verdict"]["holds"] == lines[-1]["holds"]
    assert (out / f"{name}.png").stat().st_size > 1000
    return lines[-1]


def test_information_is_fsi_on_the_mean_loss():
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    model = build_model("mlp", 1, (4,), [8])
    found = information(model, (inputs, labels), (inputs, labels), 0.1, [10, 100])
    linear = linearize(model, (inputs, labels), (inputs, labels))
    expected = functional_sample_information(linear, GradientDescent(0.1, 100, loss="mean"))
    assert torch.equal(found[1], expected)
    assert not torch.equal(found[0], found[1])


def test_groups_are_compared_and_averaged():
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0])
    row = two_groups(scores, torch.tensor([False, False, True, True]))
    assert row == {"mean": 4.5, "mean_of_others": 1.5, "ratio": 3.0, "ratio_of_medians": 3.0, "auc": 1.0}
    assert over_seeds([{"a": 1.0}, {"a": 3.0}]) == {"a": [2.0, 1.414]}
    assert over_seeds([{"a": 1.0}]) == {"a": [1.0, 0.0]}
    assert digits(123456.0) == 123500.0
    panel = histogram("", {"low": scores[:2], "high": scores[2:]}, bins=4)
    assert [sum(values) for values in panel.series.values()] == pytest.approx([1.0, 1.0])


def test_pretraining_excludes_the_classes_of_the_task(cifar):
    inputs, labels = pretraining.drawn(cifar.train, {"cat": 3, "deer": 5}, seed=0)
    assert sorted(labels.tolist()) == [3] * 3 + [4] * 5
    assert inputs.shape == (8, 3, 32, 32)
    assert -1 <= float(inputs.min()) < -0.9 < 0.9 < float(inputs.max()) <= 1
    with pytest.raises(InputError, match="needs 1000 images of the class frog"):
        pretraining.drawn(cifar.train, {"frog": 1000}, seed=0)
    body = pretraining.pretrained("lenet5", cifar.train, ("cat", "dog"), 40, seed=0)
    assert outputs_of(body, inputs).shape == (8, 8)
    first, second = (pretraining.with_new_head(body, 1, seed) for seed in (1, 2))
    assert first[0].weight is body[0].weight
    assert not torch.equal(first[-1].weight, second[-1].weight)
    assert torch.equal(first[-1].weight, pretraining.with_new_head(body, 1, 1)[-1].weight)


def test_sources_differ_in_variety_and_information(data_root, tmp_path, capsys):
    line = verdict_of(sources, data_root, tmp_path, capsys, "--examples", "20", "--units", "8", "--seeds", "1")
    assert set(line["ratio"]) == {"small, t", "small, 100 t", "photographs, t", "photographs, 100 t"}
    row = {"variety": 2.0, "variety_of_mnist": 1.0, "mean": 3.0, "mean_of_others": 2.0}
    assert sources.follows_variety(row)
    assert not sources.follows_variety(row | {"mean": 1.0})


def test_variety_is_the_distance_to_the_nearest_of_the_same_class():
    images = torch.tensor([0.0, 3.0, 1.0, 9.0]).reshape(4, 1, 1, 1)
    assert sources.variety((images, torch.tensor([0, 0, 1, 1]))) == pytest.approx((3 + 3 + 8 + 8) / 4)
    alone = sources.variety((images[:3], torch.tensor([0, 0, 1])))
    assert alone == pytest.approx(3.0)
    digit, photograph = torch.zeros(1, 1, 28, 28), torch.rand(1, 1, 32, 32)
    placed = sources.on_photographs(digit, photograph, torch.Generator().manual_seed(0))
    assert any(torch.equal(placed[0, 0], photograph[0, 0, y : y + 28, x : x + 28]) for y in range(5) for x in range(5))


def test_the_rare_subclass_is_compared_with_its_class(data_root, cifar, tmp_path, capsys, monkeypatch):
    data, pets, few, held_out = subclasses.pets_against_deer(cifar, "cat", 0.005, seed=0)
    assert (len(data[1]), int(pets.sum()), int(few.sum()), len(held_out[1])) == (41, 21, 1, 11)
    assert torch.equal(data[1] == 1, pets)
    monkeypatch.setattr(subclasses, "FEW", 600)
    arguments = "--share", "0.005", "--pretraining", "70", "--seeds", "1"
    verdict_of(subclasses, data_root, tmp_path, capsys, *arguments)
    assert subclasses.decide([{"ratio": 1.1}, {"ratio": 1.2}])
    assert not subclasses.decide([{"ratio": 1.1}, {"ratio": 0.9}])


def test_adversarial_examples_fool_the_network_they_were_made_for():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    nn.init.ones_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    inputs = torch.tensor([-0.9, -0.01, 0.01, 0.9]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    data = inputs, torch.tensor([0, 0, 1, 0])  # the network already gets the last one wrong
    images, chosen = adversarial.adversarial(model, data, 10, 0.01)
    assert chosen.tolist() == [False, True, True, False]
    assert torch.equal(images[~chosen], inputs[~chosen])
    assert torch.allclose(images[chosen], -inputs[chosen])  # 0.02 on the scale from -1 to 1
    assert adversarial.adversarial(model, data, 1, 0.01)[1].sum() == 1
    assert adversarial.decide([{"ratio": 1.1, "auc": 0.6}])
    assert not adversarial.decide([{"ratio": 1.1, "auc": 0.6}, {"ratio": 0.9, "auc": 0.6}])
    with pytest.raises(InputError, match="larger --epsilon"):
        adversarial.adversarial(model, data, 10, 0.001)


def test_adversarial_examples_are_compared_with_their_originals(data_root, tmp_path, capsys):
    arguments = "--examples", "20", "--pretraining", "80", "--seeds", "1", "--epsilon", "0.3"
    line = verdict_of(adversarial, data_root, tmp_path, capsys, *arguments)
    assert set(line["auc"]) == {"before, t", "before, 100 t", "adversarial, t", "adversarial, 100 t"}


def test_scores_of_several_networks_are_correlated(data_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(agreement, "NETWORKS", ("mlp", "lenet5"))
    arguments = "--examples", "10", "--pretraining", "80", "--seeds", "2"
    line = verdict_of(agreement, data_root, tmp_path, capsys, *arguments)
    assert set(line["correlation"]) == {"architectures", "heads", "times"}
    rows = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])
    assert torch.allclose(agreement.pearson(rows), torch.tensor([1.0, -1.0, -1.0]).double())
    assert agreement.decide({"architectures": 0.4, "heads": 0.3, "times": 0.8})
    assert not agreement.decide({"architectures": 0.1, "heads": 0.3, "times": 0.8})
    assert not agreement.decide({"architectures": 0.4, "heads": 0.3, "times": 0.45})


@pytest.mark.parametrize("task", ["text", "table"])
def test_the_extremes_are_shown(data_root, tmp_path, capsys, task):
    arguments = task, "--examples", "40", "--units", "16", "--seeds", "2"
    line = verdict_of(extremes, data_root, tmp_path, capsys, *arguments)
    assert ("words" in line["rank_correlation"]) == (task == "text")
    shown = json.loads((tmp_path / f"information_extremes_{task}.json").read_text())["extremes"]
    assert [row["end"] for row in shown] == ["least"] * 5 + ["most"] * 5
    assert max(row["fsi"] for row in shown[:5]) <= min(row["fsi"] for row in shown[5:])
    assert extremes.decide([{"disagreement": 0.2, "distance": 0.1}], examples=1000)
    assert not extremes.decide([{"disagreement": 0.2, "distance": 0.05}], examples=1000)


def test_hard_rare_and_untypical_examples_are_named():
    inputs = torch.cat([torch.zeros(15, 2), torch.ones(15, 2), torch.tensor([[9.0, 9.0]])])
    inputs = inputs + 0.01 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0] * 15 + [1] * 16)
    classes[0] = 1
    found = extremes.typicality(inputs, classes.float(), classes)
    assert int(found["disagreement"].argmax()) == 0
    assert int(found["distance"].argmax()) == 30
    assert int(found["from_class_mean"].argmax()) == 30


def test_sentences_are_encoded_by_words_or_from_a_file(data_root, tmp_path):
    texts, labels = film_reviews.sentences(data_root / "text")
    assert (len(texts), int(labels.sum())) == (80, 40)
    found = film_reviews.vectors(texts, "tfidf")
    assert torch.allclose(found.norm(dim=1), torch.ones(80))
    np.save(tmp_path / "vectors.npy", np.ones((80, 3)))
    assert film_reviews.vectors(texts, str(tmp_path / "vectors.npy")).shape == (80, 3)
    with pytest.raises(InputError, match="row for each of 79 sentences"):
        film_reviews.vectors(texts[1:], str(tmp_path / "vectors.npy"))
    with pytest.raises(InputError, match="NumPy file"):
        film_reviews.vectors(texts, str(tmp_path / "nowhere.npy"))
    with pytest.raises(InputError, match="is not there"):
        film_reviews.sentences(tmp_path)
