"""What a trained model says of examples: a class and how surely, or a value and how far off; and how good that is."""

import math

import pandas as pd
from torch import Tensor, nn

from attribution_core.datasets import Dataset
from attribution_core.evaluation.comparison import r_squared
from attribution_core.runs.labels import label_names
from attribution_core.training import loss_values, outputs_of


def predictions(model: nn.Module, pair: tuple[Tensor, Tensor], dataset: Dataset) -> pd.DataFrame:
    """What a model says of each example, and its loss.

    Args:
        model: Trained on examples like these.
        pair: Inputs and targets of a split.
        dataset: The split.

    Returns:
        Of classes the columns predicted, predicted_name, confidence, margin, loss (nats) and correct. Of values
        predicted and residual (predicted minus value), in the unit of the data, predicted_name, and loss (half the
        squared error in the training values' standard deviations).
    """
    outputs = outputs_of(model, pair[0]).double().cpu()
    targets = pair[1].cpu()
    if dataset.values is not None:
        predicted = dataset.values.in_unit(outputs[:, 0].numpy())
        return pd.DataFrame(
            {
                "predicted": predicted,
                "predicted_name": label_names(predicted, []),
                "residual": predicted - dataset.labels,
                "loss": loss_values(outputs, targets.double(), "mse").numpy(),
            }
        )
    losses = loss_values(outputs, targets, "cross_entropy")
    probabilities = outputs.softmax(dim=1)
    own = probabilities.gather(1, targets[:, None])[:, 0]
    others = probabilities.scatter(1, targets[:, None], -math.inf).amax(dim=1)
    confidence, classes = probabilities.max(dim=1)
    return pd.DataFrame(
        {
            "predicted": classes.numpy(),
            "predicted_name": label_names(classes.numpy(), dataset.class_names),
            "confidence": confidence.numpy(),
            "margin": (own - others).numpy(),
            "loss": losses.numpy(),
            "correct": (classes == targets).numpy(),
        }
    )


def quality(table: pd.DataFrame) -> float:
    """The share of the classes that are right; of values R²."""
    return float(table["correct"].mean()) if "correct" in table else r_squared(table)
