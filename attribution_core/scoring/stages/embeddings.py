"""The stage of embeddings: what the trained network's last layer takes in."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.methods.linearized.build import head_inputs, head_of
from attribution_core.models import load_weights
from attribution_core.progress import track
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.training import Recipe

# Splits in each file, in the order of its table.
SPLITS_BY_TABLE = {"train": ("train",), "evaluation": ("validation", "test")}


class EmbeddingsStage(Stage):
    """Write embeddings/train.npy and evaluation.npy."""

    name = "embeddings"
    title = "embeddings"
    order = 32  # soon after the first scores, since it is cheap and pages use it

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        head_of(model, inputs)

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, model = scoring.writer, scoring.initial_model()
        load_weights(model, writer.path / FINAL_WEIGHTS_FILE)
        for table, splits in track(SPLITS_BY_TABLE.items(), len(SPLITS_BY_TABLE), "embedding the examples"):
            values = torch.cat([head_inputs(model, scoring.tensors_by_split[split][0]) for split in splits])
            writer.write_embeddings(table, values.cpu().numpy())  # type: ignore[arg-type]
