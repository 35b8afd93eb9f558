"""The larger networks of the zoo. Each layer runs once in a pass and draws nothing, so examples stay independent."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attribution_core.errors import InputError

# Nonzero initial weights into each unit of the autoencoder (Martens 2010, "Deep learning via Hessian-free
# optimization").
CONNECTIONS = 15


def autoencoder(num_outputs: int, input_shape: tuple[int, ...], hidden: Sequence[int]) -> nn.Module:
    """Build the deep autoencoder of Martens and Grosse 2015 (Bae et al. 2022, appendix C.3).

    It maps inputs to a logit for each value. Units are sigmoids except for the linear code, as in Hinton and
    Salakhutdinov 2006, who introduced the network. It starts with ``CONNECTIONS`` normal weights into each unit and
    zero biases; from PyTorch's initialization, SGD found only the mean image. Train it with ``"binary_cross_entropy"``
    and flat inputs as targets.

    Args:
        num_outputs: Number of outputs, which must equal the number of values in an input.
        input_shape: Shape of one input.
        hidden: Sizes of the encoder's layers, the code last; the decoder mirrors them.

    Raises:
        InputError: The number of outputs is another.
    """
    width = math.prod(input_shape)
    if num_outputs != width:
        raise InputError(f"autoencoder must have as many outputs as an input has values, {width}, not {num_outputs}.")
    sizes = [width, *(hidden or (1000, 500, 250, 30))]
    layers: list[nn.Module] = [nn.Flatten()]
    for side in (sizes, sizes[::-1]):
        for inputs, outputs in itertools.pairwise(side):
            layers += [_sparse_linear(inputs, outputs), nn.Sigmoid()]
        layers.pop()  # the code and the logits are linear
    return nn.Sequential(*layers)


def alexnet(num_outputs: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Build the AlexNet of Krizhevsky et al. 2012 for images of about 32 pixels: small kernels, and no random dropout.

    Convolutions are initialized as in He et al. 2015; with PyTorch's initialization, the loss on 1,000 images of
    Fashion-MNIST was 2.27 after eight epochs of SGD instead of 0.51.
    """
    channels, height, width = input_shape
    sides = [(side + 1) // 2 // 8 for side in (height, width)]
    return nn.Sequential(
        _he(nn.Conv2d(channels, 64, 3, stride=2, padding=1)), nn.ReLU(), nn.MaxPool2d(2),
        _he(nn.Conv2d(64, 192, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2),
        _he(nn.Conv2d(192, 384, 3, padding=1)), nn.ReLU(),
        _he(nn.Conv2d(384, 256, 3, padding=1)), nn.ReLU(),
        _he(nn.Conv2d(256, 256, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256 * math.prod(sides), 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, num_outputs),
    )  # fmt: skip


def vgg13(num_outputs: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Build VGG-13 (Simonyan and Zisserman 2015, configuration B) for images of about 32 pixels, with one linear layer.

    Pooling rounds up, so that images of 28 pixels survive all five. Convolutions are initialized as in :func:`alexnet`.
    """
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for size in (64, 128, 256, 512, 512):
        for inputs in (channels, size):
            layers += [_he(nn.Conv2d(inputs, size, 3, padding=1)), nn.ReLU()]
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        channels = size
    sides = [math.ceil(side / 32) for side in (height, width)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * math.prod(sides), num_outputs))


def resnet20(num_outputs: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Build ResNet-20 (He et al. 2016, section 4.2): three stages of three blocks, with projections (option B)."""
    return ResNet20(input_shape[0], num_outputs)


def transformer_lm(num_outputs: int, input_shape: tuple[int, ...], hidden: Sequence[int]) -> nn.Module:
    """Build a :class:`TransformerLM` for a context ``(length,)``, a vocabulary and a width.

    Raises:
        InputError: The inputs have another shape, or more than one size is given.
    """
    if len(input_shape) != 1:
        raise InputError(f"transformer_lm takes tokens, so its input must be [length], not {list(input_shape)}.")
    if len(hidden) > 1:
        raise InputError(f"transformer_lm has one width, so it takes one size, not {list(hidden)}.")
    return TransformerLM(num_outputs, input_shape[0], hidden[0] if hidden else 256)


class ResNet20(nn.Module):
    """ResNet-20, as in :func:`resnet20`; takes inputs ``[b, channels, height, width]``."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.conv = _he(nn.Conv2d(channels, 16, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(16)
        sizes = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        self.blocks = nn.Sequential(*(ResidualBlock(*pair) for pair in itertools.pairwise(sizes)))
        self.head = nn.Linear(64, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to outputs ``[b, k]``."""
        return self.head(self.blocks(F.relu(self.norm(self.conv(x)))).mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Residual block ``relu(x + f(x))``; changing channels halves the size and sends x through a 1 x 1 convolution."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        stride = 1 if size == channels else 2
        self.conv1 = _he(nn.Conv2d(channels, size, 3, stride=stride, padding=1, bias=False))
        self.norm1 = nn.BatchNorm2d(size)
        self.conv2 = _he(nn.Conv2d(size, size, 3, padding=1, bias=False))
        self.norm2 = nn.BatchNorm2d(size)
        self.shortcut = nn.Sequential()
        if size != channels:
            self.shortcut.append(_he(nn.Conv2d(channels, size, 1, stride=stride, bias=False)))
            self.shortcut.append(nn.BatchNorm2d(size))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[b, channels, h, w]`` to ``[b, size, h / stride, w / stride]``."""
        change = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(change + self.shortcut(x))


class TransformerLM(nn.Module):
    """Transformer that predicts the token after a context (Vaswani et al. 2017, with normalization first).

    An example is a context and its next token. Attention is written out, because fused kernels support neither
    forward-mode nor second derivatives.

    Args:
        vocabulary: Number of tokens, and of outputs.
        length: Length of the longest context.
        width: Size of each token's embedding; a multiple of ``heads``.
        heads: Number of attention heads.
        layers: Number of blocks.

    Raises:
        InputError: The width is not a multiple of the heads.
    """

    def __init__(self, vocabulary: int, length: int, width: int = 256, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        if width < 1 or width % heads:
            raise InputError(
                f"transformer_lm has {heads} heads, so its width must be a multiple of {heads}, not {width}."
            )
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map contexts, int64 ``[b, length]``, to logits ``[b, vocabulary]``."""
        return self.head(self.norm(self.hidden_states(tokens)[:, -1]))

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Return the last block's output for each token, ``[b, length, width]``."""
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        return self.blocks(self.tokens(tokens) + self.positions(places))


class TransformerBlock(nn.Module):
    """Causal attention and a feed-forward network of four times the width, each with a residual connection.

    Projections have no biases, as in the paper; a bias of the keys would have no effect.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.norm2 = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[b, length, width]`` to the same shape."""
        x = x + self._attention(self.norm1(x))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).masked_fill(later, -math.inf)
        return self.output((scores.softmax(dim=3) @ v).transpose(1, 2).flatten(2))


def _he(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialize a layer as in He et al. 2015: weights of variance 2 / (inputs of a kernel), and zero bias."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _sparse_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    connected = torch.rand(outputs, inputs).argsort(dim=1)[:, :CONNECTIONS]
    with torch.no_grad():
        layer.weight.zero_().scatter_(1, connected, torch.randn(connected.shape))
        layer.bias.zero_()
    return layer


class TwoLayerReLU(nn.Module):
    """Two-layer network ``f_c(x) = 1 / sqrt(m) sum_r a_cr relu(w_r . x)`` (NTK influence, eq. 1).

    The first layer is initialized from ``N(0, kappa^2)``; the second is drawn from {-1, 1} and stays fixed, so it is a
    buffer and not a parameter. As the width m grows, the tangent kernel tends to ``relu_ntk`` for every output, for
    any kappa; a small kappa keeps the initial outputs near zero.

    Args:
        in_features: Number of values in one input, which is flattened.
        width: Width m.
        num_outputs: Number of outputs k; the paper has one.
        kappa: Standard deviation of the first layer's initial weights.
    """

    def __init__(self, in_features: int, width: int, num_outputs: int = 1, kappa: float = 0.01) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width, bias=False)
        nn.init.normal_(self.first.weight, std=kappa)
        signs = torch.randint(0, 2, (num_outputs, width)) * 2.0 - 1.0
        self.second: Tensor
        self.register_buffer("second", signs)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``[b, ...]`` to outputs ``[b, k]``."""
        return torch.relu(self.first(x.flatten(1))) @ self.second.T / math.sqrt(self.second.shape[1])
