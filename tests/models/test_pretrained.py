import pytest
import torch
from safetensors.torch import save_file

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.models.pretrained import TORCHVISION, Backbone, backbone_preprocessing, find_weights
from attribution_core.preparation.frozen_trunk import freeze_trunk
from attribution_core.preparation.prepare import prepare
from attribution_core.training import Recipe, outputs_of

# The smallest networks of three families in timm.
TINY = ["timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet"]


def published(name, folder, classes=1000):
    """A file as a library would publish it: random weights, and a head of 1,000 classes."""
    path = folder / "published.pth"
    torch.save(Backbone(name, classes, None)(7).state_dict(), path)
    return path


def with_drawn_head(model):
    """The model with other numbers where it has zeros, as in a head that the weights have not."""
    generator = torch.Generator().manual_seed(3)
    zero = {name: value for name, value in model.state_dict().items() if value.ndim and not value.any()}
    drawn = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in zero.items()}
    model.load_state_dict(drawn, strict=False)
    return model


@pytest.mark.parametrize("name", ["torchvision/resnet18", *TINY])
def test_a_head_for_other_classes_starts_at_zero_and_one_for_as_many_is_kept(name, tmp_path):
    path = published(name, tmp_path, classes=5)
    inputs = torch.randn(2, 3, *backbone_preprocessing(name).size)
    assert not outputs_of(Backbone(name, 3, path)(0), inputs).any()
    assert outputs_of(Backbone(name, 5, path)(0), inputs).any()
    assert outputs_of(Backbone(name, 3, None)(0), inputs).any()


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/densenet121"])
def test_networks_of_torchvision_keep_all_but_their_head(name, tmp_path):
    path = published(name, tmp_path)
    model, given = Backbone(name, 3, path)(0), torch.load(path)
    inputs = torch.randn(2, 3, 64, 64)
    assert model.eval()(inputs).shape == (2, 3)
    differing = [key for key, value in model.state_dict().items() if not torch.equal(value, given[key])]
    assert {key.partition(".")[0] for key in differing} <= {"fc", "classifier"}
    again = Backbone(name, 3, path)(0).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    assert backbone_preprocessing(name).size == (224, 224)
    whole = outputs_of(with_drawn_head(model), inputs)
    assert whole.any()
    for trainable in ("head", "last-block"):
        cut = freeze_trunk(model, inputs, trainable)
        assert torch.allclose(outputs_of(cut.last_layers(model), cut.trunk(model)(inputs)), whole, atol=1e-4)


def test_the_last_block_is_found_by_structure():
    inputs = torch.randn(2, 3, 64, 64)
    blocks = [
        freeze_trunk(Backbone(f"torchvision/{name}", 3, None)(0), inputs, "last-block").block for name in TORCHVISION
    ]
    assert blocks == ["layer4.1", "layer4.2", "layer4.2", "features.denseblock4"]


def test_a_network_that_cannot_be_cut_says_so():
    """A Transformer of timm reads the shape of its input during the forward pass."""
    model, inputs = Backbone("timm/test_vit", 3, None)(0), torch.zeros(2, 3, 160, 160)
    assert freeze_trunk(model, inputs, "head").head == "head"
    with pytest.raises(InputError, match=r"cannot be cut before its block 'blocks\.5': use --train head or all"):
        freeze_trunk(model, inputs, "last-block")
    with pytest.raises(InputError, match="no block of layers before its last one"):
        freeze_trunk(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)), torch.zeros(2, 4), "last-block")


def test_the_old_names_of_torchvisions_densenet_are_known(tmp_path):
    state = Backbone("torchvision/densenet121", 1000, None)(7).state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for key, value in state.items()}
    assert set(old) != set(state)
    torch.save(old, tmp_path / "old.pth")
    loaded = Backbone("torchvision/densenet121", 3, tmp_path / "old.pth")(0).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("classifier"))


@pytest.mark.parametrize("name", TINY)
def test_networks_of_timm_work_the_same(name, tmp_path):
    model = with_drawn_head(Backbone(name, 3, published(name, tmp_path))(0))
    shape = backbone_preprocessing(name).size
    inputs = torch.randn(2, 3, *shape)
    whole = outputs_of(model, inputs)
    assert whole.shape == (2, 3)
    assert whole.any()
    for trainable in ("head", "last-block"):
        cut = freeze_trunk(model, inputs, trainable)
        assert torch.allclose(outputs_of(cut.last_layers(model), cut.trunk(model)(inputs)), whole, atol=1e-4)


def test_weights_come_from_the_librarys_cache_or_the_error_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    there = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    with pytest.raises(
        InputError, match=f"fetch them, or fetch https://download.pytorch.org/models/{there.name} and put it at {there}"
    ):
        find_weights("torchvision/resnet18")
    there.parent.mkdir(parents=True)
    there.touch()
    assert find_weights("torchvision/resnet18") == there


def test_missing_networks_and_missing_weights_have_different_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"fetch them, or fetch https://huggingface\.co/timm/test_resnet.* or put it into the cache"
    ):
        find_weights("timm/test_resnet")
    with pytest.raises(InputError, match="timm has no model 'resnet1'"):
        find_weights("timm/resnet1")


def test_only_some_networks_of_torchvision_are_supported():
    with pytest.raises(InputError, match="choose one of torchvision/resnet18"):
        find_weights("torchvision/vgg11")


@pytest.mark.parametrize("trainable", ["head", "last-block"])
def test_the_last_layers_of_a_pretrained_network_are_scored(tmp_path, trainable):
    weights = published("torchvision/resnet18", tmp_path)
    arguments = ["score", "digits", "--model", "torchvision/resnet18", "--weights", str(weights), "--train", trainable]
    quick = ["--image-size", "32", "--max-train", "60", "--epochs", "1", "--map", "off", "--influence", "off"]
    quick += ["--sensitivity", "kfac" if trainable == "head" else "off"]
    assert main([*arguments, *quick, "--out", str(tmp_path / "run")]) == 0
    run = ac.Run.open(tmp_path / "run")
    measures = {"fsi", "si", "contribution"} | ({"sensitivity"} if trainable == "head" else set())
    assert measures <= set(run.manifest.measures)
    assert run.manifest.config["training"] == "fine-tune"
    assert (
        run.manifest.model["parameters"]
        == {"head": 513 * 10, "last-block": 513 * 10 + 2 * (9 * 512**2 + 1024)}[trainable]
    )


def test_features_of_the_head_are_those_of_the_network(tmp_path):
    weights = published("torchvision/resnet18", tmp_path)
    config = ac.ScoreConfig(
        data="digits", model="torchvision/resnet18", weights=weights, trainable="head", image_size=32, max_train=60
    )
    frozen = prepare(config)
    whole = prepare(config.model_copy(update={"trainable": "all"}))
    images, _ = whole.tensors_by_split()["validation"]
    features, _ = frozen.tensors_by_split()["validation"]
    assert frozen.input_shape == (512,)
    assert images.shape[1:] == (3, 32, 32)
    expected = outputs_of(whole.build(0), images[:20])
    assert torch.allclose(outputs_of(frozen.build(0), features[:20]), expected, atol=1e-4)


def test_a_checkpoint_with_a_head_for_the_same_classes_may_be_scored_unchanged(tmp_path):
    save_file(Backbone("torchvision/resnet18", 10, None)(3).state_dict(), tmp_path / "ours.safetensors")
    config = ac.ScoreConfig(
        data="digits", model="torchvision/resnet18", weights=tmp_path / "ours.safetensors", training="none",
        trainable="head", image_size=32, max_train=60,
    )  # fmt: skip
    model = prepare(config).build(0)
    assert torch.equal(model[1].weight, Backbone("torchvision/resnet18", 10, None)(3).fc.weight)
    with pytest.raises(InputError, match="no head for 10 classes"):
        prepare(config.model_copy(update={"weights": published("torchvision/resnet18", tmp_path)}))


def test_a_vector_is_not_an_image(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b,label\n" + "".join(f"{i},{i % 7},{'xy'[i % 2]}\n" for i in range(60)))
    config = ac.ScoreConfig(data=str(tmp_path / "rows.csv"), model="torchvision/resnet18", recipe=Recipe(epochs=1))
    with pytest.raises(InputError, match="takes images, but the data holds none"):
        prepare(config)
