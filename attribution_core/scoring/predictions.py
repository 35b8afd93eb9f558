"""Tables of examples: labels and groups, the model's predictions, and how good these are."""

import math

import numpy as np
import pandas as pd
from torch import Tensor, nn

from attribution_core.datasets import Dataset
from attribution_core.datasets.features import describe
from attribution_core.evaluation.comparison import r_squared
from attribution_core.runs import MEASURES, RunWriter
from attribution_core.runs.labels import VALUE_RANGE, label_names
from attribution_core.runs.schema import BASE_COLUMNS
from attribution_core.training import loss_values, outputs_of


def predictions(model: nn.Module, pair: tuple[Tensor, Tensor], dataset: Dataset) -> pd.DataFrame:
    """Predict each example of a split, and return its loss.

    Args:
        model: A trained model.
        pair: Inputs and targets of the split.
        dataset: The split.

    Returns:
        For classes the columns predicted, predicted_name, confidence, margin, loss (nats) and correct. For values
        predicted and residual (predicted minus actual), in the unit of the data, predicted_name, and loss (half the
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
    """Return the share of the predicted classes that are right; for values R²."""
    return float(table["correct"].mean()) if "correct" in table else r_squared(table)


def example_table(dataset: Dataset) -> pd.DataFrame:
    """Return ids, labels and group columns; a group with the name of a run's own column gets ``_in_data`` behind it."""
    taken = {*BASE_COLUMNS, *MEASURES, VALUE_RANGE, "umap_x", "umap_y"}
    groups = dataset.groups.reset_index(drop=True).rename(columns=lambda c: f"{c}_in_data" if c in taken else c)
    names = label_names(dataset.labels, dataset.class_names)
    own = pd.DataFrame({"id": dataset.ids, "label": dataset.labels, "label_name": names})
    if dataset.values is not None:
        own[VALUE_RANGE] = np.array(dataset.strata_names, dtype=object)[dataset.strata]
    if dataset.kind != "image":
        own["text"] = [describe(dataset[i][0]) for i in range(len(dataset))]
    return pd.concat([own, groups], axis=1)


def add_predictions(writer: RunWriter, tables: dict[str, pd.DataFrame]) -> None:
    """Add the columns of :func:`predictions` of each split to the run's tables."""
    held_out = pd.concat([tables[split] for split in ("validation", "test")], ignore_index=True)
    writer.add_columns("examples", {str(name): column.to_numpy() for name, column in tables["train"].items()})
    writer.add_columns("evaluation", {str(name): column.to_numpy() for name, column in held_out.items()})


def write_tables(writer: RunWriter, tables: dict[str, pd.DataFrame]) -> None:
    """Write the training split as one table; validation and test, in this order, as the other."""
    writer.write_table("examples", tables["train"])
    held_out = [tables[split].assign(split=split) for split in ("validation", "test")]
    writer.write_table("evaluation", pd.concat(held_out, ignore_index=True))
