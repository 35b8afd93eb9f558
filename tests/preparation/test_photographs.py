"""Color images go through a pretrained network by default, frozen, with a linear head."""

import numpy as np
import pytest
import torch

import attribution_core as ac
from attribution_core.models.pretrained import EMBEDDED, Backbone, find_weights
from attribution_core.preparation import image_reader
from attribution_core.preparation.prepare import prepare
from attribution_core.preparation.prepare_run import prepare_run
from attribution_core.progress import announcing
from attribution_core.training import Recipe, outputs_of

LEAN = {"map": "off", "contributions": "off", "sensitivity": "off", "influence": "off"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images of 24 pixels of three colors, some of which have the label of another."""
    generator = np.random.default_rng(0)
    labels = np.arange(36) % 3
    images = generator.integers(0, 120, (36, 24, 24, 3), dtype=np.uint8)
    images[np.arange(36), :, :, labels] += 100
    file = tmp_path_factory.mktemp("photographs") / "data.npz"
    np.savez(file, images=images, labels=np.where(np.arange(36) % 9 == 0, (labels + 1) % 3, labels))
    return file


def test_the_default_model_of_color_images_is_the_frozen_network_and_is_named(photographs):
    said = []
    with announcing(said.append):
        prepared = prepare(ac.ScoreConfig(data=str(photographs)))
    assert prepared.config.model == prepared.model_name == EMBEDDED
    assert (prepared.config.training, prepared.config.trainable) == ("fine-tune", "head")
    assert (prepared.source.input_shape, prepared.input_shape) == ((3, 112, 112), (1280,))
    (model,) = [sentence for sentence in said if sentence.startswith("Model: ")]
    assert EMBEDDED in model
    assert "at 112 pixels, because the images are in color" in model


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"training": "scratch"}, "cnn4"),
        ({"trainable": "all"}, "cnn4"),
        ({"image_size": 8}, "mlp"),
        ({"model": "resnet20"}, "resnet20"),
    ],
)
def test_other_options_ask_for_another_model(photographs, options, model):
    prepared = prepare(ac.ScoreConfig(data=str(photographs), **options))
    assert prepared.model_name == model
    assert prepared.config.trainable == "all"
    assert prepared.frozen_trunk is None


def test_gray_images_keep_their_default():
    prepared = prepare(ac.ScoreConfig(data="digits", max_train=20))
    assert (prepared.model_name, prepared.config.trainable) == ("mlp", "all")


def test_features_are_those_of_the_network_and_are_computed_once(photographs, tmp_path, monkeypatch):
    config = ac.ScoreConfig(data=str(photographs), out=tmp_path / "run", recipe=Recipe(epochs=2), **LEAN)
    run = ac.score(config)
    settled = Recipe.model_validate(run.manifest.config["recipe"])
    assert settled.weight_decay != Recipe().weight_decay
    assert settled.epochs == 2

    def read_again(*_):
        raise AssertionError("the images were read again")

    monkeypatch.setattr(image_reader.ImageReader, "__call__", read_again)
    again = prepare_run(run, None, "cpu")
    assert again.config.recipe == settled
    features, targets = again.tensors_by_split()["test"]
    monkeypatch.undo()
    assert targets.tolist() == again.splits.test.labels.tolist()
    network = Backbone(EMBEDDED, 1000, find_weights(EMBEDDED))(0)
    pixels = torch.stack([torch.from_numpy(np.array(again.splits.test[i][0].resize((112, 112), 2))) for i in range(2)])
    network.classifier = torch.nn.Identity()
    direct = outputs_of(network, pixels.permute(0, 3, 1, 2) / 127.5 - 1)
    assert torch.allclose(features[:2], direct, atol=1e-3)
    assert ac.score(config).manifest.config == run.manifest.config  # finished: nothing is done again


def test_what_is_given_is_not_chosen(photographs):
    recipe = Recipe(epochs=1, weight_decay=0.25)
    prepared = prepare(ac.ScoreConfig(data=str(photographs), recipe=recipe))
    assert prepared.open_fields == {"learning_rate"}
