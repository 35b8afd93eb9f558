"""How a model is trained: a recipe, its losses and its learning-rate schedule."""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from attribution_core.errors import InputError


class Recipe(BaseModel):
    """A training recipe. The objective is the batch mean of the loss plus ``weight_decay / 2 |w|^2``.

    Attributes:
        loss: ``"cross_entropy"`` (integer targets, nats); ``"binary_cross_entropy"``, that of every output's sigmoid,
            summed over outputs (targets in 0..1, such as the pixels of an autoencoder; nats); or ``"mse"`` (half the
            squared error summed over outputs). With the last two integer targets become one-hot, or 0/1 for one
            output.
        optimizer: ``"sgd"`` with PyTorch's momentum convention, ``"adam"`` or ``"adamw"`` as PyTorch has them, or
            ``"iblr"``, which learns a posterior (:mod:`attribution_core.training.iblr`).
        learning_rate: Peak learning rate.
        momentum: In [0, 1); the first beta of Adam and iBLR.
        second_momentum: Their second beta.
        weight_decay: Of the mean objective; ``"adamw"`` decouples it from the gradient.
        batch_size: The last batch of an epoch may be shorter.
        epochs: Passes over the data.
        schedule: ``"constant"``, ``"cosine"`` from the peak to zero over all steps, or ``"plateau"``: times
            ``factor`` whenever the training loss has not fallen for more than ``patience`` epochs.
        patience: Of ``"plateau"``, in epochs.
        factor: Of ``"plateau"``.
        seed: Of the batch order, and of iBLR's draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: Literal["cross_entropy", "binary_cross_entropy", "mse"] = "cross_entropy"
    optimizer: Literal["sgd", "adam", "adamw", "iblr"] = "sgd"
    learning_rate: float = Field(0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    second_momentum: float = Field(0.999, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    batch_size: int = Field(128, ge=1)
    epochs: int = Field(20, ge=0)
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    patience: int = Field(5, ge=0)
    factor: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)

    def steps(self, examples: int) -> int:
        """Optimiser steps of the whole training on ``examples`` examples."""
        return self.epochs * math.ceil(examples / self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step ``step`` (from 0) out of ``steps``; for ``"plateau"`` that before any plateau."""
        if self.schedule != "cosine" or steps == 0:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def loss_values(outputs: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Loss of each example: outputs ``[b, k]``, targets ``[b]`` or ``[b, k]`` -> ``[b]``.

    ``"cross_entropy"`` in nats (of the sigmoid when there is one output), ``"binary_cross_entropy"`` in nats, summed
    over outputs, else half the squared error.
    """
    if loss == "cross_entropy":
        if outputs.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype), reduction="none")
        return F.cross_entropy(outputs, targets, reduction="none")
    values = as_outputs(targets, outputs.shape[1]).to(outputs.dtype)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(outputs, values, reduction="none").sum(dim=1)
    return 0.5 * (outputs - values).square().sum(dim=1)


def require_targets(targets: Tensor, loss: str) -> None:
    """Raises InputError where values do not lie in 0..1 and the loss, binary cross-entropy, has no minimum then."""
    values = targets.is_floating_point() or targets.ndim > 1
    if loss == "binary_cross_entropy" and values and not bool(((targets >= 0) & (targets <= 1)).all()):
        raise InputError(
            f"binary_cross_entropy takes targets in 0..1, not {float(targets.min()):g}..{float(targets.max()):g}: "
            "rescale them, or use mse."
        )


def as_outputs(targets: Tensor, num_outputs: int) -> Tensor:
    """Targets in the form of outputs: classes ``[b]`` to one-hot ``[b, k]`` (0/1 for one output), values as they are.

    Raises:
        InputError: A class that has no output, or values of another width.
    """
    if targets.ndim == 2 and targets.shape[1] == num_outputs:
        return targets
    if targets.is_floating_point() and num_outputs == 1 and targets.ndim == 1:
        return targets[:, None]
    if targets.is_floating_point() or targets.ndim != 1:
        raise InputError(f"Targets for {num_outputs} outputs must be classes [n] or values [n, {num_outputs}].")
    classes = max(num_outputs, 2)
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= classes):
        raise InputError(f"Labels must lie in 0..{classes - 1} for {num_outputs} outputs, not {int(targets.max())}.")
    if num_outputs == 1:
        return targets[:, None].to(torch.get_default_dtype())
    return F.one_hot(targets, num_outputs).to(torch.get_default_dtype())
