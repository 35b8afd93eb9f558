"""The stage that trains the model and writes its predictions."""

import pandas as pd
from typing_extensions import override

from attribution_core.datasets import Dataset
from attribution_core.runs import RunWriter
from attribution_core.scoring.predictions import add_predictions, predictions, quality
from attribution_core.scoring.probe import Probe, timed
from attribution_core.scoring.recorded_training import kept_epochs, kept_steps, write_training
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, add_notes
from attribution_core.scoring.weight_warnings import weight_warnings, weight_warnings_of_values
from attribution_core.training import train


class TrainingStage(Stage):
    """Train the model, or take the given weights; keep its checkpoints, and predict every example."""

    name = "training"
    title = "training"
    order = 10
    essential = True

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count gradients, momentum, both ends, a copy, checkpoints, and a batch's activations."""
        recipe = sizes.config.recipe
        states = len(kept_epochs(recipe.epochs)) + 5
        return 4 * sizes.num_parameters * states + 2 * min(recipe.batch_size, sizes.n) * sizes.activation_bytes

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time steps, the first of a process by itself, and outputs on all examples."""
        steps, batch = probe.recipe.steps(probe.sizes.n), min(probe.recipe.batch_size, probe.sizes.n)
        data = probe.rows(batch)
        first = timed(lambda: probe.train_steps(data, 1))  # loads what only a process's first step has to
        return first + steps * probe.seconds_for_step + probe.sizes.total * probe.seconds_for_outputs

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, prepared, config = scoring.writer, scoring.prepared, scoring.config
        model, tensors = scoring.initial_model(), scoring.tensors_by_split
        recipe = scoring.settle_recipe().model_copy(update={"seed": config.seed})
        checkpoints = kept_steps(recipe, len(tensors["train"][0]))[:-1]
        trained = train(model, tensors["train"], recipe, record=checkpoints, validation=tensors["validation"])
        write_training(writer, trained)
        parts = prepared.named_splits
        tables = {name: predictions(model, tensors[name], part) for name, part in parts.items()}
        add_predictions(writer, tables)
        tables = {name: table.assign(label=parts[name].labels) for name, table in tables.items()}
        metric = "accuracy" if prepared.splits.train.values is None else "r2"
        metrics = {f"{split}_{metric}": quality(table) for split, table in tables.items()}
        metrics |= {f"{split}_loss": float(table["loss"].mean()) for split, table in tables.items()}
        about = {
            "name": prepared.model_name,
            "parameters": sum(p.numel() for p in model.parameters()),
            "input_shape": list(prepared.input_shape),
            "digests": prepared.source.digests,
        }
        writer.update(metrics=metrics, model=about)
        if config.training == "none":
            _note_weight_warnings(writer, tables["train"], prepared.splits.train)


def _note_weight_warnings(writer: RunWriter, examples: pd.DataFrame, train_split: Dataset) -> None:
    """Write beside the dataset's notes what speaks against the given weights."""
    if train_split.values is None:
        predicted, labels = examples["predicted"].to_numpy(), examples["label"].to_numpy()
        found = weight_warnings(predicted, labels, train_split.class_names)
    else:
        found = weight_warnings_of_values(quality(examples))
    add_notes(writer, found)
