"""How a model is trained: the recipe and its learning-rate schedule. Loads without torch."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
