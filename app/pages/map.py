"""Map: the training examples in the plane, with examples that the trained network finds similar close together."""

from __future__ import annotations

from samplescope_app.data import navigation
from samplescope_app.panels import embedding_map, header, map_tiles, points

_EXPLANATION = (
    "Every point is a training example. Nearby examples are similar to the trained network (UMAP of the inputs of its "
    "last layer); the axes and long distances have no meaning. Click a point to open it. To select several, draw "
    "around them with the lasso or the box at the upper right of the figure."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Map", _EXPLANATION)
    if not run.has_map:
        embedding_map.explain_missing(run)
        return
    points.open_clicked(run, embedding_map.NAME)
    color, highlighted, with_evaluation = embedding_map.choices(run)
    embedding_map.draw(run, color, highlighted, with_evaluation)
    map_tiles.chosen(run)
    map_tiles.farthest(run)


main()
