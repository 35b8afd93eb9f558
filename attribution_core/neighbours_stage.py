"""The stage of near-duplicates: which examples are there twice, as the trained network sees them."""

import pandas as pd
from torch import Tensor, nn

from attribution_core.methods.linearize import head_inputs
from attribution_core.methods.near_duplicates import NearDuplicates, near_duplicates
from attribution_core.models import load_weights
from attribution_core.progress import Progress
from attribution_core.runs import RunWriter
from attribution_core.runs.store import read_table
from attribution_core.stage_parts import Pair, write_or_leave_out


def write_near_duplicates(
    writer: RunWriter, model: nn.Module, sides: dict[str, Pair], progress: Progress | None
) -> None:
    """Writes column nearest_similarity, and near_duplicates.parquet with the pairs.

    Embeddings are what the trained network's last layer is given. Where there is no such layer, or too few examples,
    the run says so instead.

    Args:
        writer: The run, trained.
        model: Of the run's kind, whatever its weights.
        sides: Inputs and labels of ``"train"``.
        progress: Called with (done, total, what).
    """

    def write() -> None:
        load_weights(model, writer.path / "model" / "final.safetensors")
        found = near_duplicates(head_inputs(model, sides["train"][0]), progress=progress)
        _write(writer, found, sides["train"][1])

    write_or_leave_out(writer, "nearest_similarity", "", False, write)


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
    with writer.path_for("near_duplicates.parquet") as path:
        table.to_parquet(path, index=False)
    writer.add_column("examples", "nearest_similarity", found.nearest_similarity.cpu().numpy())
    details = {"route": "cosines of what the trained network's last layer is given", "near_duplicates": found.count}
    writer.describe("nearest_similarity", details, ["nearest_similarity"])
