"""The stage of the map: where each example is placed by the trained network's embeddings."""

import numpy as np
import torch
from typing_extensions import override

from attribution_core.methods.analysis.embedding_map import EPOCHS, MIN_DIST, MOST, NEIGHBORS, embedding_map
from attribution_core.methods.linalg.blocked import BLOCK_BYTES
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.scoring.stages.embeddings import SPLITS_BY_TABLE

# Of the layout, on one core where this was written.
_SECONDS_EACH = 6e-4


class MapStage(Stage):
    """Write columns umap_x and umap_y of both tables."""

    name = "map"
    title = "map"
    order = 90
    option = "map"
    needs = "embeddings"

    @override
    def is_required(self, config: object) -> bool:
        """Return False: the map is on by default, and is skipped where there are no embeddings."""
        return False

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count embeddings, blocks of similarities, and the graph."""
        return 4 * sizes.total * sizes.head_width + 2 * BLOCK_BYTES + 8 * 100 * min(sizes.total, MOST)

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time neighbors among all pairs, and the layout."""
        placed = min(probe.sizes.total, MOST)
        products = 2 * probe.sizes.total * placed * probe.sizes.head_width
        return _SECONDS_EACH * placed + products / probe.flops

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer = scoring.writer
        train, evaluation = (np.asarray(read_embeddings(writer.path, table)) for table in SPLITS_BY_TABLE)
        together = torch.from_numpy(np.concatenate([train, evaluation])).to(scoring.prepared.device)
        places = embedding_map(together, scoring.config.seed)
        for table, rows in (("examples", places[: len(train)]), ("evaluation", places[len(train) :])):
            writer.add_columns(table, {"umap_x": rows[:, 0], "umap_y": rows[:, 1]})  # type: ignore[arg-type]
        details = {
            "route": "UMAP by cosine similarity of the inputs of the trained network's last layer, training and "
            "evaluation examples together",
            "neighbours": NEIGHBORS,
            "min_dist": MIN_DIST,
            "epochs": EPOCHS,
            "laid_out": min(len(together), MOST),
            "examples": len(together),
        }
        writer.describe("map", details)
