"""Map: the training examples, placed by similarity to the trained network."""

from __future__ import annotations

from samplescope_app.data import navigation
from samplescope_app.panels import embedding_map, header, map_tiles

_EXPLANATION = (
    "Every point is a training example; those close together look alike to the trained network (UMAP of what its last "
    "layer is given). The axes and long distances mean nothing. Click a point to open it; to choose many, take the "
    "lasso or the box at the figure's upper right and draw around them."
)


def main() -> None:
    """The page."""
    run = navigation.scored_run()
    header.draw(run, "Map", _EXPLANATION)
    if not run.has_map:
        embedding_map.explain_missing(run)
        return
    embedding_map.open_clicked(run)
    colour, highlighted, with_evaluation = embedding_map.choices(run)
    embedding_map.draw(run, colour, highlighted, with_evaluation)
    map_tiles.chosen(run)
    map_tiles.farthest(run)


main()
