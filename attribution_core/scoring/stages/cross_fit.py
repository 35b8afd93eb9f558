"""The stage of cross-fitting: label quality by the run's own model, if its held-out predictions are the better ones."""

import dataclasses

import torch
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.models.pretrained import is_backbone
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared
from attribution_core.scoring.cross_fit import (
    HeldOutOutputs,
    held_out_outputs,
    quality_of_classes,
    quality_of_values,
    sizes_without_fold,
    stratified_folds,
)
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, add_notes
from attribution_core.scoring.stages.embeddings import SPLITS_BY_TABLE
from attribution_core.scoring.stages.label_quality import given_labels, write_judgements

_SEEN = (
    "Label quality comes from trainings that started at the weights given: it is honest only if these weights were not "
    "trained on the same labels."
)


class CrossFitStage(Stage):
    """Rewrite the columns of label quality if the cross-fitted model has a lower loss, and state its loss."""

    name = "cross_fit"
    title = "cross-fitted label quality"
    order = 36
    needs = "label_quality"

    @override
    def is_wanted(self, config: ScoreConfig) -> bool:
        return config.cross_fit > 0

    @override
    def is_required(self, config: ScoreConfig) -> bool:
        return self.is_wanted(config)

    @override
    def require(self, prepared: Prepared) -> None:
        config, examples = prepared.config, len(prepared.splits.train)
        if not self.is_wanted(config):
            return
        if config.training == "none" or config.recipe.epochs == 0:
            raise InputError(
                "Cross-fitting trains the model again without a part of the examples, but this run does not train it: "
                "use --training fine-tune or scratch with --epochs, or leave out --cross-fit."
            )
        if examples < 2 * config.cross_fit:
            raise InputError(
                f"Cross-fitting in {config.cross_fit} folds needs at least {2 * config.cross_fit} training examples, "
                f"but there are {examples}: use fewer folds."
            )

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count the inputs without a fold, the weights in training, and a batch's activations."""
        if not self.is_wanted(sizes.config):
            return 0
        batch = min(sizes.config.recipe.batch_size, sizes.n)
        return sizes.input_bytes + 4 * sizes.num_parameters * 6 + 2 * batch * sizes.activation_bytes

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Count the steps of all trainings, and outputs for their fold and the other splits."""
        count, sizes = probe.config.cross_fit, probe.sizes
        if not count:
            return 0.0
        steps = count * probe.recipe.steps(max(sizes_without_fold(sizes.n, count)))
        outputs = sizes.n + count * (sizes.total - sizes.n)
        return steps * probe.seconds_for_step + outputs * probe.seconds_for_outputs

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, prepared, config = scoring.writer, scoring.prepared, scoring.config
        tensors, train = scoring.tensors_by_split, prepared.splits.train
        recipe = config.recipe.model_copy(update={"seed": config.seed})
        folds = stratified_folds(torch.from_numpy(train.strata), config.cross_fit, config.seed)
        held_out = SPLITS_BY_TABLE["evaluation"]
        outputs = held_out_outputs(
            prepared.build,
            tensors["train"],
            [tensors[split][0] for split in held_out],
            recipe,
            folds,
            tensors["validation"],
        )
        labels = given_labels(train)
        given = torch.cat([given_labels(prepared.named_splits[split]) for split in held_out])
        if train.values is None:
            found = quality_of_classes(outputs, labels, given)
        else:
            scale, mean = train.values.scale, train.values.mean
            in_unit = HeldOutOutputs(scale * outputs.train + mean, scale * outputs.others + mean)
            found = quality_of_values(in_unit, labels, given)
        title = f"{prepared.model_name}, {config.cross_fit} folds"
        found = dataclasses.replace(found, features=title)
        before = writer.manifest.details["label_quality"]
        candidates = {**before["candidates"], title: found.loss}
        if found.loss < before["loss"]:
            write_judgements(scoring, found, train)
            details = {
                "route": f"held-out predictions of {prepared.model_name}, trained {config.cross_fit} times",
                "temperature": found.temperature,
                "loss": found.loss,
                "chosen": title,
                "examples": len(labels),
            }
            if _starts_from_given_weights(prepared):
                add_notes(writer, [_SEEN])
        else:
            details = before
        writer.describe("label_quality", {**details, "candidates": candidates})
        writer.describe("cross_fit", {"folds": config.cross_fit, "loss": found.loss, "temperature": found.temperature})


def _starts_from_given_weights(prepared: Prepared) -> bool:
    """Return whether trainings start from weights that may have been trained on these labels."""
    published = is_backbone(prepared.model_name) and prepared.config.weights is None
    return prepared.config.training == "fine-tune" and not published
