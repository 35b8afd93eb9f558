"""The cases that every fast path is compared with its slow reference on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model


@dataclass(frozen=True)
class LinearCase:
    """A linear model in given features: Jacobians ``[n, k, p]`` and ``[m, k, p]``, outputs and targets."""

    name: str
    train_jacobian: Tensor
    evaluation_jacobian: Tensor
    train_outputs: Tensor
    evaluation_outputs: Tensor
    train_targets: Tensor
    evaluation_targets: Tensor

    @property
    def residuals(self) -> Tensor:
        return self.train_targets - self.train_outputs

    @property
    def outputs_and_targets(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.train_outputs, self.evaluation_outputs, self.train_targets, self.evaluation_targets

    def linear_model(self) -> LinearizedModel:
        """The linear model of these Jacobians."""
        return LinearizedModel.from_jacobians(self.train_jacobian, self.evaluation_jacobian, *self.outputs_and_targets)

    @property
    def largest(self) -> float:
        rows = self.train_jacobian.flatten(0, 1)
        return float(torch.linalg.matrix_norm(rows, ord=2) ** 2)

    def __str__(self) -> str:
        return self.name


def linear_case(name: str, n: int, m: int, k: int, p: int, seed: int = 0, duplicates: int = 0) -> LinearCase:
    """Random features whose scale falls off as in a tangent kernel (eigenvalues over four decades)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scale = torch.logspace(0, -2, p, dtype=torch.float64)
    train, evaluation = draw(n, k, p) * scale, draw(m, k, p) * scale
    outputs, targets = draw(n, k), draw(n, k)
    if duplicates:  # the same example again, and the same input with another label
        train[-duplicates:] = train[:duplicates]
        outputs[-duplicates:] = outputs[:duplicates]
        targets[-1] = targets[duplicates - 1]
    return LinearCase(name, train, evaluation, outputs, draw(m, k), targets, draw(m, k))


LINEAR_CASES = [
    linear_case("one output, more features", 23, 7, 1, 60),
    linear_case("one output, fewer features", 40, 50, 1, 12, seed=1),
    linear_case("three outputs, more features", 11, 5, 3, 50, seed=2),
    linear_case("three outputs, fewer features", 20, 9, 3, 17, seed=3),
    linear_case("three outputs, as many features as rows", 8, 5, 3, 24, seed=4),
    linear_case("duplicates, more features", 12, 6, 1, 30, seed=5, duplicates=2),
    linear_case("duplicates, fewer features", 16, 6, 3, 20, seed=6, duplicates=2),
]


def schedules(largest: float) -> list[GradientDescent]:
    """Gradient descent of every kind, at rates that suit the largest eigenvalue of a kernel."""
    rate = 0.9 / largest
    return (
        [
            GradientDescent(rate, steps, weight_decay, dynamics, loss)
            for dynamics in ("continuous", "discrete")
            for steps in (0, 1, 7, 300, 5000, math.inf)
            for weight_decay in (0.0, 0.01 * largest)
            for loss in ("sum", "mean")
        ]
        + [
            GradientDescent(rate, steps, 0.1 * largest, dynamics, "mean", "fixed")
            for dynamics in ("continuous", "discrete")
            for steps in (7, 300, math.inf)
        ]
        + [GradientDescent(1.9 / largest, steps, 0.0, "discrete") for steps in (3, 64, 65, 500)]
    )


@dataclass(frozen=True)
class ModelCase:
    """A small model in float64 with data: inputs ``[n, ...]`` and ``[m, ...]``, classes as targets."""

    name: str
    model: nn.Module
    train: tuple[Tensor, Tensor]
    evaluation: tuple[Tensor, Tensor]

    def __str__(self) -> str:
        return self.name


def model_case(
    name: str, model: nn.Module, shape: tuple[int, ...], k: int, n: int = 9, m: int = 4, tokens: int = 0
) -> ModelCase:
    """A case with normal inputs, or with integers below ``tokens``."""
    generator = torch.Generator().manual_seed(len(name))

    def draw(count: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
        if tokens:
            inputs = torch.randint(tokens, (count, *shape), generator=generator)
        return inputs, torch.randint(max(k, 2), (count,), generator=generator)

    return ModelCase(name, model.double().eval(), draw(n), draw(m))


def model_cases() -> list[ModelCase]:
    """Every layer kind and route; made anew at each call, since tests may train them."""
    image = (1, 14, 14)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            model_case("linear", build_model("linear", 3, (5,)), (5,), 3),
            model_case("mlp, one output", build_model("mlp", 1, (6,), hidden=[8]), (6,), 1),
            model_case("mlp, two hidden layers", build_model("mlp", 3, (6,), hidden=[7, 5]), (6,), 3),
            model_case("lenet5", build_model("lenet5", 3, image), image, 3),
            model_case("cnn4", build_model("cnn4", 2, (1, 20, 20)), (1, 20, 20), 2, n=3, m=2),
            model_case("strides, dilation, named padding, in-place", _convolutions(), (2, 9, 8), 2),
            model_case("groups and padding modes", _groups(), (4, 7, 6), 2),
            model_case("normalisations", _normalisations(), (3, 6, 6), 2),
            model_case("text", _text(), (5,), 3, tokens=9),
            model_case("layers without factors", _without_factors(), (4, 6, 6), 2),
        ]


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), padding="same", dilation=(1, 2)), nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 3, stride=(2, 1), padding=(1, 0), bias=False), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2),
    )  # fmt: skip


def _groups() -> nn.Module:
    """Grouped and depth-wise convolutions, padded in each way that nn.Conv2d knows."""
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"), nn.Tanh(),
        nn.Conv2d(6, 6, (2, 3), groups=6, padding="same", padding_mode="circular"), nn.Tanh(),
        nn.Conv2d(6, 8, 3, groups=2, padding=(1, 0), padding_mode="replicate", stride=2, bias=False), nn.ReLU(),
        nn.Conv2d(8, 16, (4, 2), groups=2), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


def _normalisations() -> nn.Module:
    """Every normalisation, with statistics, scales and shifts as training would leave them."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.GroupNorm(2, 4), nn.LayerNorm((4, 4)), nn.Flatten(2),
        nn.BatchNorm1d(4), nn.Linear(16, 6), nn.LayerNorm(6, bias=False), nn.Tanh(), nn.Flatten(),
        nn.Linear(24, 8), nn.BatchNorm1d(8), nn.GroupNorm(2, 8), nn.Linear(8, 2), nn.BatchNorm1d(2, affine=False),
    )  # fmt: skip
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.ndim == 1:
            nn.init.uniform_(value, 0.5, 2.0) if "var" in name else nn.init.normal_(value)
    return model


def _text() -> nn.Module:
    """A table with a padding index and one without, attention by hand, and a mean over positions."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.marks = nn.Embedding(9, 6, padding_idx=2), nn.Embedding(9, 6)
            self.norm, self.query, self.out = nn.LayerNorm(6), nn.Linear(6, 6, bias=False), nn.Linear(6, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.norm(self.words(tokens) + torch.tanh(self.marks(tokens)))
            return self.out((self.query(x) @ x.transpose(1, 2)).softmax(dim=2) @ x).mean(dim=1)

    return Reader()


def _without_factors() -> nn.Module:
    """Layers whose factors would miss a part: used twice, tied, used outside; a bare parameter; an odd kind."""

    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(6, 6), nn.Parameter(torch.ones(6))
            self.tied, self.same, self.outside = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
            self.same.weight = self.tied.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(torch.tanh(self.layer(x))) * self.scale
            return self.outside(self.same(torch.tanh(self.tied(x)))) @ self.outside.weight

    return nn.Sequential(
        nn.Conv2d(4, 4, 3),
        nn.Flatten(2),
        nn.Conv1d(4, 4, 1),
        nn.Linear(16, 6),
        Reused(),
        nn.Flatten(),
        nn.Linear(24, 2),
    )
