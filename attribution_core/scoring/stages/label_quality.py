"""The stage of label quality: how probable each label is to a model that never saw the example."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from attribution_core.datasets import Dataset
from attribution_core.datasets.defaults import AUTO, MINILM
from attribution_core.datasets.features import text_features
from attribution_core.methods.linearized.kernel_basis import LANDMARKS, Features, joined
from attribution_core.methods.linearized.label_quality import COMPARED_ON, Judgement, LabelQuality, label_quality
from attribution_core.preparation.representations import representations
from attribution_core.runs import RunWriter
from attribution_core.runs.labels import label_names
from attribution_core.scoring.probe import Probe, timed
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.scoring.stages.embeddings import SPLITS_BY_TABLE

_ENCODED = 64  # texts by which a sentence encoder's time is measured


class LabelQualityStage(Stage):
    """Write columns label_quality, suggested_label, suggested_name and suggested_confidence.

    They are about the examples of all splits, or about those of training only if the configuration says so.
    """

    name = "label_quality"
    title = "label quality"
    order = 5  # before anything is trained, so that a run has scores to look at from the start

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count a kernel, its eigenvectors and a copy, in float32."""
        side = min(sizes.n, LANDMARKS)
        return 4 * 4 * side * max(sizes.n, side)

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Count decompositions: two kinds of features, two kernels each, and of each kind that of all examples."""
        n, are_values = probe.sizes.n, probe.prepared.splits.train.values is not None
        compared, side = min(n, COMPARED_ON[are_values]), min(n, LANDMARKS)
        kinds = 1 if probe.prepared.splits.train.kind == "table" else 2
        sides = 2 * kinds * compared**3 + (kinds * side**3 if n > compared else 0)
        products = 4 * kinds * n * side * side
        encoding = _seconds_to_encode(probe) if probe.config.encoder == AUTO else 0.0
        return encoding + probe.seconds_for_decomposition / 2 * sides + products / probe.flops

    @override
    def write(self, scoring: ScoringRun) -> None:
        splits, device = scoring.prepared.named_splits, scoring.prepared.device
        kinds = representations(scoring.prepared, scoring.tensors_by_split)
        train = {kind: _on(parts["train"], device) for kind, parts in kinds.items()}
        held_out = SPLITS_BY_TABLE["evaluation"]
        others = {kind: _on(joined([parts[name] for name in held_out]), device) for kind, parts in kinds.items()}
        labels = given_labels(splits["train"])
        given = torch.cat([given_labels(splits[name]) for name in held_out])
        classes = len(splits["train"].class_names) or None
        found = label_quality(train, labels, (others, given), classes=classes, seed=scoring.config.seed)
        write_judgements(scoring, found, splits["train"])
        scoring.writer.describe("label_quality", _details(found, len(labels)), ["label_quality"])


def _seconds_to_encode(probe: Probe) -> float:
    """Return the seconds in which the sentence encoder is loaded and reads all texts."""
    train = probe.prepared.splits.train
    some = train.subset(range(min(_ENCODED, len(train))))

    def encode(part: Dataset) -> float:
        return timed(lambda: text_features({"train": part}, MINILM, str(probe.device)))

    loading, fixed = encode(some.subset([0])), encode(some.subset([0]))  # the library is loaded only once
    return loading + probe.sizes.total * max(0.0, encode(some) - fixed) / len(some)


def write_judgements(scoring: ScoringRun, found: LabelQuality, train: Dataset) -> None:
    """Write the columns of label quality, of the examples that the configuration asks for.

    Args:
        scoring: The run.
        found: The judgement on the training examples and, held out, on those of the other splits.
        train: The training split, whose classes the suggestions are.
    """
    assert found.held_out is not None
    _write(scoring.writer, "examples", found, train)
    if scoring.config.score == "all":
        _write(scoring.writer, "evaluation", found.held_out, train)


def _write(writer: RunWriter, table: Any, judged: Judgement, train: Dataset) -> None:
    suggested = judged.suggested.cpu().numpy()
    columns = {
        "label_quality": judged.quality.double().cpu().numpy(),
        "suggested_label": suggested,
        "suggested_name": label_names(suggested, train.class_names),
    }
    if judged.confidence is not None:
        columns["suggested_confidence"] = judged.confidence.double().cpu().numpy()
    writer.add_columns(table, columns)


def _details(found: LabelQuality, examples: int) -> dict[str, Any]:
    return {
        "route": f"leave-one-out of ridge regression, {found.title}",
        "features": found.features,
        "kernel": found.kernel,
        "weight_decay": found.weight_decay,
        "temperature": found.temperature,
        "loss": found.loss,
        "chosen": found.title,
        "shares": found.shares,
        "candidates": found.losses,
        "kernel_error": found.kernel_error,
        "landmarks": LANDMARKS if found.kernel_error else 0,
        "examples": examples,
    }


def given_labels(split: Dataset) -> Tensor:
    """Return classes, int64 ``[n]``, or values in the unit of the data, float64 ``[n]``."""
    return torch.from_numpy(np.ascontiguousarray(split.labels))


def _on(features: Features, device: torch.device) -> Features:
    return features if sparse.issparse(features) else features.to(device)
