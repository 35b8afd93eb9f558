"""Training with a recorded trajectory."""

from attribution_core.training.recipe import Recipe, as_outputs, loss_values
from attribution_core.training.trainer import as_pair, mean_loss, optimizer_of, outputs_of, repeatable, state_of, train
from attribution_core.training.trajectory import Trajectory, batches

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
