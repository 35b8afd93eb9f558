"""Build models by name, most of them small enough for a laptop."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from attribution_core.errors import InputError
from attribution_core.models.catalog import ARCHITECTURES
from attribution_core.models.networks import TwoLayerReLU, alexnet, autoencoder, resnet20, transformer_lm, vgg13
from attribution_core.models.weights import load_weights

Shape = tuple[int, ...]


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
    """Build LeNet-5 (LeCun et al. 1998) in its modern form: ReLU, max pooling, and padding 2 in the first layer."""
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
    """Build the four-layer network of unique information, appendix A.3."""
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
        raise InputError(f"two_layer has one hidden layer, so it takes one size, not {list(hidden)}: give one size.")
    return TwoLayerReLU(math.prod(input_shape), hidden[0] if hidden else 10_000, num_outputs)


def _resnet18(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
    """Build ResNet-18 (He et al. 2016) for images of about 32 pixels: a 3 x 3 first convolution without pooling."""
    from torchvision.models import resnet18  # slow to import, and no other model needs it

    _refuse_hidden("resnet18", hidden)
    model = resnet18(num_classes=num_outputs)
    model.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def _fixed(name: str, build: Callable[[int, Shape], nn.Module]) -> Callable[[int, Shape, Sequence[int]], nn.Module]:
    """Return a builder of a network that has no hidden sizes to choose."""

    def built(num_outputs: int, input_shape: Shape, hidden: Sequence[int]) -> nn.Module:
        _refuse_hidden(name, hidden)
        return build(num_outputs, input_shape)

    return built


_BUILDERS: dict[str, Callable[[int, Shape, Sequence[int]], nn.Module]] = {
    "linear": _linear,
    "mlp": _mlp,
    "two_layer": _two_layer,
    "lenet5": _lenet5,
    "cnn4": _cnn4,
    "alexnet": _fixed("alexnet", alexnet),
    "vgg13": _fixed("vgg13", vgg13),
    "resnet18": _resnet18,
    "resnet20": _fixed("resnet20", resnet20),
    "autoencoder": autoencoder,
    "transformer_lm": transformer_lm,
}


def build_model(
    name: str,
    num_outputs: int,
    input_shape: Sequence[int],
    hidden: Sequence[int] = (),
    weights: str | Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a model of the zoo with seeded weights, on the CPU, in float32.

    Weights have PyTorch's initialization, except for ``two_layer`` and the networks of
    :mod:`attribution_core.models.networks` that state another.

    Args:
        name: One of ``ARCHITECTURES``.
        num_outputs: Number of outputs, k; for ``transformer_lm`` the vocabulary.
        input_shape: Shape of one input, ``(channels, height, width)``; any shape for ``linear``, ``mlp``, ``two_layer``
            and ``autoencoder``, and ``(length,)`` of the context for ``transformer_lm``.
        hidden: Hidden sizes of ``mlp``, sizes of the encoder of ``autoencoder`` including its code, or the width of
            ``two_layer`` or ``transformer_lm``.
        weights: File of initial weights of this architecture, see
            :func:`attribution_core.models.weights.read_weights`.
        seed: Seed of the initial weights; PyTorch's global generator keeps its state.

    Raises:
        InputError: The name is unknown, the model does not take the shapes or sizes, or the weights do not fit.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"There is no model {name!r}: choose one of {', '.join(ARCHITECTURES)}.")
    architecture, shape = ARCHITECTURES[name], tuple(int(size) for size in input_shape)
    if num_outputs < 1 or not shape or min(shape) < 1:
        raise InputError(
            f"A model needs one output or more and a non-empty input, not {num_outputs} and {list(shape)}."
        )
    if architecture.min_side and (len(shape) != 3 or min(shape[1:]) < architecture.min_side):
        raise InputError(
            f"{name} takes images [channels, height, width] of at least {architecture.min_side} pixels a side, not "
            f"{list(shape)}: resize the images, or use mlp."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILDERS[name](num_outputs, shape, hidden)
    if weights is not None:
        load_weights(model, weights)
    return model


def _width_after(features: Sequence[nn.Module], input_shape: Shape) -> int:
    with torch.no_grad():
        return int(nn.Sequential(*features)(torch.zeros(1, *input_shape)).shape[1])


def _refuse_hidden(name: str, hidden: Sequence[int]) -> None:
    if hidden:
        raise InputError(
            f"{name} has no hidden sizes to choose: leave them out, or use mlp, two_layer, "
            "autoencoder or transformer_lm."
        )
