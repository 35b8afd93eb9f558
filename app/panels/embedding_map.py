"""The map of the training examples: its options, its figure and its places."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.data import session
from samplescope_app.figures import Layer
from samplescope_app.figures.style import ORANGE, SKY_BLUE
from samplescope_app.panels import influencers, points
from samplescope_app.wording.text import plain

NAME = "map"  # of the chart, in keys of the session
_EVALUATION_SYMBOLS = {"validation": (ORANGE, "circle-open"), "test": (SKY_BLUE, "square-open")}


def choices(run: Run) -> tuple[str, str | None, bool]:
    """Draw the options; return the coloring, the highlighted category and whether to draw evaluation examples."""
    *columns, last = st.columns([3, 3, 4], vertical_alignment="bottom")
    color, highlighted = points.color_choice(run, columns, NAME)
    with_evaluation = "umap_x" in run.evaluation.columns and last.toggle(
        "Show validation and test examples", key="map evaluation", persist_state="session"
    )
    return color, highlighted, with_evaluation


def draw(run: Run, color: str, highlighted: str | None, with_evaluation: bool) -> None:
    """Draw the map with the chosen coloring."""
    frame = session.examples(run)
    rows = figures.drawn_rows(len(frame))
    layers = points.colored(run, _places(frame), rows, color, highlighted)
    layers = [*(_evaluation_layers(run) if with_evaluation else []), *layers]
    key = f"map {color} {highlighted} {with_evaluation}"
    chosen = points.still_chosen(run, NAME, key)
    figure = figures.map_figure(layers, chosen=chosen, **points.scale_of(run, color))
    if color == "label_name" and highlighted is None:
        figures.name_places(figure, layers)
    alt = (
        f"Map of {len(rows):,} training examples, colored by {points.coloring_title(run, color)}; "
        f"{'those far from the others of their class' if run.values is None else 'those predicted worst'} follow as "
        "tiles"
    )
    points.draw(run, NAME, key, layers, figure, alt)
    if len(rows) < len(frame):
        st.caption(f"Showing a random sample of {len(rows):,} of the {len(frame):,} training examples.")


def _places(table: pd.DataFrame) -> np.ndarray:
    return table[["umap_x", "umap_y"]].to_numpy(dtype=np.float32)


def _evaluation_layers(run: Run) -> list[Layer]:
    table, layers = run.evaluation, []
    drawn, places = figures.drawn_rows(len(table)), _places(table)
    for split, (color, symbol) in _EVALUATION_SYMBOLS.items():
        rows = drawn[(table["split"] == split).to_numpy()[drawn]]
        if len(rows):
            layers.append(Layer(split, rows, places[rows], color, symbol, table="evaluation"))
    return layers


def explain_missing(run: Run) -> None:
    """Show why the run has no map, and offer to compute it if that is possible."""
    reason = run.manifest.details.get("map", {}).get("skipped")
    if reason:
        st.info(f"Map skipped: {plain(reason)}.", icon=":material/scatter_plot:")
        return
    st.info("This run has no map yet.", icon=":material/scatter_plot:")
    influencers.finish(run, "map")
