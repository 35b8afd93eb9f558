"""Training schedule of the linearized model: gradient descent on half squared errors, for any time."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg import contour


@dataclass(frozen=True)
class GradientDescent:
    """Full-batch gradient descent on ``sum_i |f(x_i) - y_i|^2 / 2 + weight_decay / 2 |w - w_0|^2``.

    See unique information, eqs. 10-11 and appendix F. Training starts at ``w_0``, and the decay pulls toward ``w_0``.

    Attributes:
        learning_rate: Learning rate, ``eta`` > 0.
        steps: Training time ``t``; ``math.inf`` trains to the end. Must be a whole number in discrete time.
        weight_decay: ``lambda`` >= 0, added to the *sum* of the losses of all training examples.
        dynamics: ``"continuous"`` (gradient flow for the time ``eta t``) or ``"discrete"``.
        loss: ``"sum"`` as in the papers, or ``"mean"``, which divides the learning rate by the number of examples
            present: it grows from ``eta / n`` to ``eta / (n - 1)`` when one is removed, as in real training on a mean
            loss. A trainer's weight decay ``l2`` on a mean loss corresponds to ``weight_decay = n * l2``.
        decay_after_removal: What ``loss="mean"`` does to the decay when r of n examples are removed; the decay of a
            sum never changes. ``"proportional"`` is real training: the trainer keeps ``l2``, so the decay of the
            remaining sum is ``(n - r) l2``. ``"fixed"`` keeps ``n l2``, as the code of unique information does.
    """

    learning_rate: float
    steps: float
    weight_decay: float = 0.0
    dynamics: Literal["continuous", "discrete"] = "continuous"
    loss: Literal["sum", "mean"] = "sum"
    decay_after_removal: Literal["proportional", "fixed"] = "proportional"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"The learning rate must be a positive number, not {self.learning_rate}.")
        if math.isnan(self.steps) or self.steps < 0:
            raise InputError(
                f"The number of steps must be zero or more (math.inf trains to the end), not {self.steps}."
            )
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"The weight decay must be zero or more, not {self.weight_decay}.")
        if self.dynamics not in ("continuous", "discrete"):
            raise InputError(f'The dynamics must be "continuous" or "discrete", not {self.dynamics!r}.')
        if self.loss not in ("sum", "mean"):
            raise InputError(f'The loss must be "sum" or "mean", not {self.loss!r}.')
        if self.decay_after_removal not in ("proportional", "fixed"):
            raise InputError(
                f'The decay after a removal must be "proportional" or "fixed", not {self.decay_after_removal!r}.'
            )
        if self.dynamics == "discrete" and math.isfinite(self.steps) and self.steps != int(self.steps):
            raise InputError(f"Discrete gradient descent needs a whole number of steps, not {self.steps}: round it.")

    @property
    def is_interpolation(self) -> bool:
        """Whether training ends at the minimum-norm least-squares solution: to the end without weight decay."""
        return math.isinf(self.steps) and self.weight_decay == 0

    def rate(self, examples: int) -> float:
        """Return the learning rate on the sum of losses if ``examples`` are present."""
        return self.learning_rate / max(examples, 1) if self.loss == "mean" else self.learning_rate

    def after_removal(self, examples: int, removed: int) -> "GradientDescent":
        """Return the schedule whose weight decay is that of the remaining sum, if some of the examples are removed."""
        if self.loss == "sum" or self.decay_after_removal == "fixed":
            return self
        return replace(self, weight_decay=self.weight_decay * (examples - removed) / examples)

    def check_stable(self, largest: float, examples: int) -> None:
        """Raise InputError if discrete steps diverge on the kernel's largest eigenvalue."""
        limit = 2.0 / (largest + self.weight_decay) if largest + self.weight_decay > 0 else math.inf
        if self.dynamics == "discrete" and self.rate(examples) >= limit:
            scale = examples if self.loss == "mean" else 1
            raise InputError(
                f"The learning rate {self.learning_rate:g} is above the stability limit {limit * scale:g} of discrete "
                "gradient descent on this kernel: use a smaller rate, or continuous dynamics."
            )

    def filter(self, eigenvalues: Tensor, examples: int) -> Tensor:
        """Return ``g`` of ``w_t - w_0 = g(A) b`` at the eigenvalues of ``A`` (without the decay), elementwise.

        Args:
            eigenvalues: Eigenvalues of the Gram matrix, ``>= 0``, of any shape.
            examples: Number of examples present.
        """
        x, eta = eigenvalues + self.weight_decay, self.rate(examples)
        if math.isinf(self.steps):
            return torch.where(x > 0, 1.0 / x, torch.zeros_like(x))
        if self.dynamics == "continuous":
            reached = -torch.expm1(-eta * self.steps * x)
        else:
            step = eta * x  # log1p keeps small eigenvalues exact; past 1 the power alternates in sign
            reached = torch.where(
                step < 0.5, -torch.expm1(self.steps * torch.log1p(-step.clamp(max=0.5))), 1 - (1 - step) ** self.steps
            )
        return torch.where(x > 0, reached / x, torch.full_like(x, eta * self.steps))

    def resolvents(self, largest: float, examples: int, nodes: int = contour.TALBOT_NODES) -> contour.Resolvents:
        """Return the same ``g`` as a sum of resolvents of ``A + weight_decay``; interpolation has no such sum.

        Args:
            largest: Largest eigenvalue of ``A``.
            examples: Number of examples present.
            nodes: Number of nodes of the contour; fewer are enough for float32 results.
        """
        if math.isinf(self.steps):
            return contour.ridge()
        if self.dynamics == "continuous":
            return contour.continuous_descent(self.rate(examples) * self.steps, nodes)
        return contour.discrete_descent(self.rate(examples), int(self.steps), largest + self.weight_decay, nodes)
