"""Map: the training examples in the plane, with examples that the trained network finds similar close together."""

from __future__ import annotations

import streamlit as st

from samplescope_app.data import navigation
from samplescope_app.panels import embedding_map, header, map_tiles, points, selection_bar

_EXPLANATION = (
    "Every point is a training example. Nearby examples are similar to the trained network (UMAP of the inputs of its "
    "last layer); the axes and long distances have no meaning. Point at one to see it, click it to open it. To select "
    "several, draw around them with the lasso or the box at the upper right of the figure. The wheel zooms once you "
    "have clicked into the figure. With the keyboard: Tab to the figure, arrow keys to the nearest point, Enter opens "
    "it."
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
    drawer = map_tiles.has_drawer(run)
    plot, *beside = st.columns([5, 2] if drawer else [1])
    with plot:
        embedding_map.draw(run, color, highlighted, with_evaluation)
    if drawer:
        with beside[0]:
            map_tiles.drawer(run)
    map_tiles.what_if_gone(run)
    map_tiles.farthest(run)
    selection_bar.draw(run, keyed=False)


main()
