"""Networks of torchvision and timm with their published weights.

Weights are never downloaded; they are read from a file or from the library's own cache.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.checkpoints import StateDict, read_checkpoint
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.models.weights import fitting, load_state

TORCHVISION = ("resnet18", "resnet34", "resnet50", "densenet121")
_HEADS = {"resnet18": "fc", "resnet34": "fc", "resnet50": "fc", "densenet121": "classifier"}
# torchvision's DenseNet weights predate the current layer names ("norm.1" became "norm1").
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
_CACHED_FILES = ("model.safetensors", "pytorch_model.bin")


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
        """Build the network on the CPU, drawing a head from the seed unless that of the weights has as many outputs.

        Raises:
            InputError: There is no such network, or the weights are for another.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, head = _network(self.name, self.num_outputs)
        if self.weights is not None:
            own = model.state_dict()
            state = _read_weights(self.weights, own, head)
            load_state(model, {**{name: own[name] for name in _of_head(own, head)}, **state}, self.weights)
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


def backbone_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing that a network's published weights expect.

    Raises:
        InputError: There is no such network.
    """
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        published = _torchvision_weights(architecture).transforms()
        return Preprocessing(mean=published.mean, std=published.std, size=published.crop_size[0])
    about = _timm_config(architecture)
    return Preprocessing(mean=about.mean, std=about.std, size=about.input_size[1:])


def find_weights(name: str) -> Path:
    """Return the file of a network's published weights in the library's own cache.

    Raises:
        InputError: There is no such network, or the file is missing; the message says what to fetch and where to put
            it.
    """
    library, _, architecture = name.partition("/")
    if library == "torchvision":
        url = _torchvision_weights(architecture).url
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if file.is_file():
            return file
        raise InputError(
            f"The weights of {name} are not on this machine: fetch {url} and put it at {file}, or pass it as --weights."
        )
    from huggingface_hub import try_to_load_from_cache

    repository = str(_timm_config(architecture).hf_hub_id)
    for file_name in _CACHED_FILES:
        found = try_to_load_from_cache(repository, file_name)
        if isinstance(found, str):
            return Path(found)
    raise InputError(
        f"The weights of {name} are not on this machine: fetch "
        f"https://huggingface.co/{repository}/resolve/main/{_CACHED_FILES[0]} "
        f"and pass it as --weights, or put it into the cache with `hf download {repository}`."
    )


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
    model = _timm().create_model(architecture, pretrained=False, num_classes=num_outputs)
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
        (label, {_OLD_NAME.sub(r"\1\2", name): value for name, value in state.items()})
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


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError("Models of timm need the extra hub: run pip install 'samplescope[hub]'.") from error
    return timm


def _timm_config(architecture: str) -> Any:
    """Return timm's configuration of an architecture's published weights."""
    timm = _timm()
    if not timm.is_model(architecture):
        raise InputError(f"timm has no model {architecture!r}: choose one that `timm.list_models()` lists.")
    return timm.get_pretrained_cfg(architecture)
