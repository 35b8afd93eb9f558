"""How a model is trained: the recipe and its learning-rate schedule. Loads without torch."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """A training recipe. The objective is the batch mean of the loss plus ``weight_decay / 2 |w|^2``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    loss: Literal["cross_entropy", "binary_cross_entropy", "mse"] = "cross_entropy"
    """cross_entropy: integer targets, in nats. binary_cross_entropy: that of each output's sigmoid, summed over
    outputs, in nats; targets in 0..1, such as the pixels of an autoencoder. mse: half the squared error, summed over
    outputs. With the last two, integer targets become one-hot, or 0/1 for one output."""

    optimizer: Literal["sgd", "adam", "adamw", "iblr"] = "sgd"
    """sgd with PyTorch's momentum convention; adam or adamw, as in PyTorch; or iblr (improved Bayesian learning rule),
    which learns a posterior."""

    learning_rate: float = Field(0.05, gt=0, allow_inf_nan=False)
    """Peak learning rate."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD; the first beta of Adam and iBLR."""

    second_momentum: float = Field(0.999, ge=0, lt=1)
    """Second beta of Adam and iBLR."""

    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    """Weight decay of the mean objective; adamw decouples it from the gradient."""

    batch_size: int = Field(128, ge=1)
    """Examples in a batch; the last batch of an epoch may be smaller."""

    epochs: int = Field(20, ge=0)
    """Passes over the training examples."""

    schedule: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    """Learning-rate schedule: constant; cosine, from the peak to zero over all steps; step, which multiplies the
    learning rate by the factor after each of the milestones; or plateau, which does so whenever the plateau loss has
    not fallen for more epochs than the patience."""

    milestones: tuple[int, ...] = Field((), title="Milestones")
    """Numbers of epochs after which the schedule step multiplies the learning rate."""

    plateau_loss: Literal["training", "training_and_validation"] = "training"
    """Loss that the schedule plateau watches: that of training, or its sum with the mean loss on the validation
    examples."""

    patience: int = Field(5, ge=0, title="Plateau patience")
    """Epochs that the schedule plateau waits for the plateau loss to fall by at least 0.01%."""

    factor: float = Field(0.1, gt=0, lt=1, title="Schedule factor")
    """Factor by which the schedules step and plateau multiply the learning rate."""

    seed: int = Field(0, ge=0)
    """Seed of the batch order, and of iBLR's draws."""

    @model_validator(mode="after")
    def _require_milestones(self) -> Self:
        if self.schedule == "step" and not (self.milestones and min(self.milestones) >= 1):
            raise ValueError(
                f"The schedule step needs one or more milestones, each at least 1, not {list(self.milestones)}: give "
                "the numbers of epochs after which the learning rate falls."
            )
        return self

    def steps(self, examples: int) -> int:
        """Return the number of optimizer steps in the whole training on ``examples`` examples."""
        return self.epochs * math.ceil(examples / self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step ``step`` (from 0) of ``steps``; for ``"plateau"``, before any plateau."""
        if self.schedule == "step" and steps:
            epoch = step * self.epochs // steps
            return self.learning_rate * self.factor ** sum(epoch >= milestone for milestone in self.milestones)
        if self.schedule != "cosine" or steps == 0:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
