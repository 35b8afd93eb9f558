"""Models built by name, small enough for a laptop."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.two_layer import TwoLayerReLU

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """One entry of the zoo.

    Attributes:
        build: ``(num_outputs, input_shape, hidden) -> module``.
        description: One line for the command line and the app.
        min_side: Smallest image side it takes, in pixels; 0 for any input.
    """

    build: Callable[[int, Shape, Sequence[int]], nn.Module]
    description: str
    min_side: int = 0


def _linear(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    _refuse_hidden("linear", hidden)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def _mlp(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for size in hidden or (1024,):
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, num_outputs))


def _lenet5(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    """LeCun et al. 1998 as it is used today: ReLU, max pooling, padding 2 in front."""
    _refuse_hidden("lenet5", hidden)
    features = [
        nn.Conv2d(input_shape[0], 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    ]  # fmt: skip
    width = _width_after(features, input_shape)
    return nn.Sequential(
        *features, nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_outputs)
    )


def _cnn4(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    """The four-layer network of unique information, appendix A.3."""
    _refuse_hidden("cnn4", hidden)
    features = [
        nn.Conv2d(input_shape[0], 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.Conv2d(64, 256, 3), nn.ReLU(), nn.Flatten(),
    ]  # fmt: skip
    width = _width_after(features, input_shape)
    return nn.Sequential(*features, nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, num_outputs))


def _two_layer(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    if len(hidden) > 1:
        raise InputError(f"two_layer has one hidden layer, so it takes one size, not {list(hidden)}.")
    return TwoLayerReLU(math.prod(input_shape), hidden[0] if hidden else 10_000, num_outputs)


def _resnet18(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    """He et al. 2016 as it is used on 32 pixels: a 3 x 3 convolution in front, and no pooling behind it."""
    from torchvision.models import resnet18  # slow to import, and no other model needs it

    _refuse_hidden("resnet18", hidden)
    model = resnet18(num_classes=num_outputs)
    model.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


ARCHITECTURES = {
    "linear": Architecture(_linear, "one linear layer: multinomial logistic or linear regression"),
    "mlp": Architecture(_mlp, "fully connected ReLU network; hidden sizes to choose, 1024 by default"),
    "two_layer": Architecture(
        _two_layer, "wide two-layer ReLU network whose first layer alone is trained; 10,000 units by default"
    ),
    "lenet5": Architecture(_lenet5, "LeNet-5 with ReLU and max pooling, 28 pixels and up", min_side=12),
    "cnn4": Architecture(_cnn4, "four convolutions and two linear layers, 28 pixels and up", min_side=20),
    "resnet18": Architecture(_resnet18, "ResNet-18 for small images, 32 pixels and up", min_side=8),
}


def build_model(
    name: str,
    num_outputs: int,
    input_shape: Sequence[int],
    hidden: Sequence[int] = (),
    weights: str | Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a model of the zoo with seeded weights (PyTorch's own initialisation), on the CPU, in float32.

    Args:
        name: One of ``ARCHITECTURES``.
        num_outputs: Number of outputs, k.
        input_shape: Of one input, ``(channels, height, width)`` (or any shape for ``linear`` and ``mlp``).
        hidden: Hidden sizes of ``mlp``, or the width of ``two_layer``.
        weights: A safetensors file of this architecture to start from.
        seed: Of the initial weights; PyTorch's global generator is left as it was.

    Raises:
        InputError: Unknown name, input too small, or weights that do not fit.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"There is no model {name!r}: choose one of {', '.join(ARCHITECTURES)}.")
    architecture, shape = ARCHITECTURES[name], tuple(int(size) for size in input_shape)
    if num_outputs < 1 or not shape or min(shape) < 1:
        raise InputError(f"A model needs an output or more and a non-empty input, not {num_outputs} and {list(shape)}.")
    if architecture.min_side and (len(shape) != 3 or min(shape[1:]) < architecture.min_side):
        raise InputError(
            f"{name} takes images [channels, height, width] of {architecture.min_side} pixels a side or more, not "
            f"{list(shape)}: resize the images, or use mlp."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.build(num_outputs, shape, hidden)
    if weights is not None:
        load_weights(model, weights)
    return model


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a safetensors file into ``model``; InputError if it is not one, or is for another architecture."""
    try:
        state = load_file(Path(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"Could not read weights from {path}: expected a safetensors file ({error}).") from error
    own = model.state_dict()
    wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise InputError(
            f"The weights in {path} are for another model: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, {wrong[0]!r} among them."
        )
    model.load_state_dict(state)


def _width_after(features: Sequence[nn.Module], input_shape: Shape) -> int:
    with torch.no_grad():
        return int(nn.Sequential(*features)(torch.zeros(1, *input_shape)).shape[1])


def _refuse_hidden(name: str, hidden: Sequence[int]) -> None:
    if hidden:
        raise InputError(f"{name} has no hidden sizes to choose; mlp and two_layer have.")
