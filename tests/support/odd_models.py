"""Small networks for images ``[1, 8, 8]`` that have one unusual thing each."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class Base(nn.Module):
    """A convolution, means over the positions, and a linear head."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head takes."""
        return F.relu(self.conv(x)).amax(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.head(self.features(x))


class FunctionalDropout(Base):
    """Dropout that is never turned off."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.head(F.dropout(self.features(x), 0.5))


class TrainingDropout(Base):
    """Dropout by a function, only in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.head(F.dropout(self.features(x), 0.5, self.training))


class Noise(Base):
    """Noise on the inputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return super().forward(x + 0.1 * torch.randn_like(x))


class Unused(Base):
    """A second head, registered last, that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(4, 7)


class Scaled(Base):
    """A temperature after the head, which is one at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return super().forward(x) / self.temperature


class Squeezed(Base):
    """Outputs without the axis of the examples where there is one."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return super().forward(x).squeeze()


class Centered(Base):
    """Features minus their mean over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        h = self.features(x)
        return self.head(h - h.mean(dim=0))


class NotFinite(Base):
    """NaN for every input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return super().forward(x) / 0 * 0


class Ending(Base):
    """A function after the head."""

    def __init__(self, end) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        """Map images to whatever the function gives."""
        return self.end(super().forward(x))


class Auxiliary(Base):
    """Two outputs in training, and one otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        outputs = super().forward(x)
        return (outputs, outputs) if self.training else outputs  # type: ignore[return-value]


class Complex(nn.Module):
    """A complex matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(64, 4, dtype=torch.cfloat))
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.head((x.flatten(1).to(torch.cfloat) @ self.matrix).abs())


class Remembers(Base):
    """A layer's last result kept as an attribute, as for a picture of attention."""

    def features(self, x: Tensor) -> Tensor:
        """Return what the head takes."""
        self.seen = {"conv": [self.conv(x)]}
        return F.relu(self.seen["conv"][0]).amax(dim=(2, 3))


class _Once(torch.autograd.Function):
    """The square, without a second derivative."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        """Return the square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        """Return the gradient."""
        return 2 * ctx.saved_tensors[0] * gradient


class OnceDifferentiable(Base):
    """An operation without second derivatives."""

    def features(self, x: Tensor) -> Tensor:
        """Return what the head takes."""
        return _Once.apply(self.conv(x)).amax(dim=(2, 3))


class Attention(nn.Module):
    """Rows as tokens, a token of its own, and a Transformer layer."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.embed = nn.Linear(8, 8)
        self.layer = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True), 1, enable_nested_tensor=False
        )
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        h = torch.cat([self.token.expand(len(x), 1, 8), self.embed(x[:, 0])], dim=1)
        return self.head(self.layer(h)[:, 0])


def weight_normalized() -> nn.Module:
    """Return a network with weight normalization by a hook."""
    model = Base()
    model.conv = nn.utils.weight_norm(model.conv)
    return model


def parametrized() -> nn.Module:
    """Return the same with a parametrization."""
    model = Base()
    model.conv = parametrizations.weight_norm(model.conv)
    return model


def lazy() -> nn.Module:
    """Return a network whose layers have no sizes yet."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))
