"""The stages of embeddings and of the map: what the trained network's last layer is given, and where that lies."""

import numpy as np
import torch
from torch import nn

from attribution_core.methods.analysis.embedding_map import EPOCHS, MIN_DIST, MOST, NEIGHBOURS, embedding_map
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import load_weights
from attribution_core.preparation.config import ScoreConfig
from attribution_core.progress import track
from attribution_core.runs import RunWriter
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring.stages.base import why_not_embedded, write_or_skip

# Splits behind each file, in the order of its table.
_PARTS = {"train": ("train",), "evaluation": ("validation", "test")}


def write_embeddings(
    writer: RunWriter,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> None:
    """Writes embeddings/train.npy and evaluation.npy, or says in the run's details why it has none.

    Args:
        writer: The run, trained.
        model: Of the run's kind, whatever its weights.
        tensors_by_split: Inputs and labels of every split.
    """

    def write() -> None:
        load_weights(model, writer.path / FINAL_WEIGHTS_FILE)
        for split, parts in track(_PARTS.items(), len(_PARTS), "embedding the examples"):
            values = torch.cat([head_inputs(model, tensors_by_split[part][0]) for part in parts])
            writer.write_embeddings(split, values.cpu().numpy())  # type: ignore[arg-type]

    write_or_skip(writer, "embeddings", "", False, write)


def write_map(
    writer: RunWriter,
    config: ScoreConfig,
    device: torch.device,
) -> None:
    """Writes columns umap_x and umap_y of both tables, or says in the run's details why it has no map.

    Args:
        writer: The run, embedded.
        config: What to score, and how.
        device: What to look for neighbours on.
    """

    def write() -> None:
        train, evaluation = (np.asarray(read_embeddings(writer.path, split)) for split in _PARTS)
        together = torch.from_numpy(np.concatenate([train, evaluation])).to(device)
        places = embedding_map(together, config.seed)
        for table, rows in (("examples", places[: len(train)]), ("evaluation", places[len(train) :])):
            writer.add_columns(table, {"umap_x": rows[:, 0], "umap_y": rows[:, 1]})  # type: ignore[arg-type]
        details = {
            "route": "UMAP by cosine of what the trained network's last layer is given, training and evaluation "
            "examples together",
            "neighbours": NEIGHBOURS,
            "min_dist": MIN_DIST,
            "epochs": EPOCHS,
            "laid_out": min(len(together), MOST),
            "examples": len(together),
        }
        writer.describe("map", details)

    reason = "the map was turned off" if config.map == "off" else why_not_embedded(writer)
    write_or_skip(writer, "map", reason, False, write)
