"""Training with a recorded trajectory. Names load on first use: a recipe alone does not need torch."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from attribution_core.training.losses import as_outputs, loss_values
    from attribution_core.training.recipe import Recipe
    from attribution_core.training.trainer import (
        as_pair,
        mean_loss,
        optimizer_of,
        outputs_of,
        repeatable,
        state_of,
        train,
    )
    from attribution_core.training.trajectory import Trajectory, batches
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        None,
        {
            "losses": ("as_outputs", "loss_values"),
            "recipe": ("Recipe",),
            "trainer": ("as_pair", "mean_loss", "optimizer_of", "outputs_of", "repeatable", "state_of", "train"),
            "trajectory": ("Trajectory", "batches"),
        },
    )

__all__ = [
    "Recipe",
    "Trajectory",
    "as_outputs",
    "as_pair",
    "batches",
    "loss_values",
    "mean_loss",
    "optimizer_of",
    "outputs_of",
    "repeatable",
    "state_of",
    "train",
]
