"""The stage of near-duplicates: which examples are there twice, as the trained network sees them."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from attribution_core.methods.analysis.near_duplicates import (
    NearDuplicates,
    near_duplicates,
    near_duplicates_in,
)
from attribution_core.methods.linalg.blocked import BLOCK_BYTES
from attribution_core.runs import RunWriter
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.runs.names import NEAR_DUPLICATES_FILE
from attribution_core.runs.store import read_table
from attribution_core.runs.tables import LEAKS
from attribution_core.scoring.probe import Probe, timed
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.scoring.stages.embeddings import SPLITS_BY_TABLE


class NeighboursStage(Stage):
    """Write column nearest_similarity, near_duplicates.parquet with the pairs, and leaks.parquet."""

    name = "neighbours"
    title = "near-duplicates"
    order = 34
    needs = "embeddings"
    details_name = "nearest_similarity"

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count embeddings, in three precisions, and blocks of similarities."""
        return (4 + 8 + 4) * sizes.n * sizes.head_width + 2 * BLOCK_BYTES

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time the similarities of all pairs."""
        count = min(probe.sizes.n, 1024)
        embeddings = torch.randn(count, probe.sizes.head_width, device=probe.device)
        seconds = timed(lambda: near_duplicates(embeddings), 2) * (probe.sizes.n / count) ** 2
        return seconds + probe.sizes.n * probe.seconds_for_outputs

    @override
    def write(self, scoring: ScoringRun) -> None:
        device, path = scoring.prepared.device, scoring.writer.path
        train, others = (torch.tensor(read_embeddings(path, table), device=device) for table in SPLITS_BY_TABLE)
        found = near_duplicates(train)
        _write(scoring.writer, found, scoring.tensors_by_split["train"][1])
        _write_leaks(path, near_duplicates_in(train, others, found))


def _write(writer: RunWriter, found: NearDuplicates, labels: Tensor) -> None:
    ids = read_table(writer.path, "examples", columns=["id"])["id"].to_numpy()
    pairs = found.pairs.cpu()
    table = pd.DataFrame(
        {
            "id": ids[pairs[:, 0].numpy()],
            "other": ids[pairs[:, 1].numpy()],
            "similarity": found.similarity.cpu().numpy(),
            "same_label": (labels[pairs[:, 0]] == labels[pairs[:, 1]]).numpy(),
        }
    )
    with writer.path_for(NEAR_DUPLICATES_FILE) as path:
        table.to_parquet(path, index=False)
    writer.add_column("examples", "nearest_similarity", found.nearest_similarity.cpu().numpy())
    details = {
        "route": "cosine similarity of the inputs of the trained network's last layer",
        "near_duplicates": found.count,
    }
    writer.describe("nearest_similarity", details, ["nearest_similarity"])


def _write_leaks(run: Path, found: tuple[Tensor, Tensor, Tensor]) -> None:
    """Write which validation and test examples are near-duplicates of which training examples."""
    row, train_row, similarity = (each.cpu().numpy() for each in found)
    table = pd.DataFrame({"row": row, "train_row": train_row, "similarity": similarity})
    splits = read_table(run, "evaluation", columns=["split"])["split"].to_numpy()[row]
    for split in ("validation", "test"):
        LEAKS.replace(run, split, table[splits == split])
