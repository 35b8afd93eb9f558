"""The stage of near-duplicates: which examples are there twice, as the trained network sees them."""

import pandas as pd
import torch
from torch import Tensor

from attribution_core.methods.analysis.near_duplicates import NearDuplicates, near_duplicates
from attribution_core.runs import RunWriter
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.runs.names import NEAR_DUPLICATES_FILE
from attribution_core.runs.store import read_table
from attribution_core.scoring.stages.base import why_not_embedded, write_or_skip


def write_near_duplicates(
    writer: RunWriter,
    labels: Tensor,
    device: torch.device,
) -> None:
    """Writes column nearest_similarity, and near_duplicates.parquet with the pairs.

    Where there are no embeddings, or too few examples, the run says so instead.

    Args:
        writer: The run, embedded.
        labels: Of the training examples, ``[n]``.
        device: What to compute on.
    """

    def write() -> None:
        embeddings = torch.tensor(read_embeddings(writer.path, "train"), device=device)
        _write(writer, near_duplicates(embeddings), labels)

    write_or_skip(writer, "nearest_similarity", why_not_embedded(writer), False, write)


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
    details = {"route": "cosines of what the trained network's last layer is given", "near_duplicates": found.count}
    writer.describe("nearest_similarity", details, ["nearest_similarity"])
