"""Figures: pure functions from tables to Plotly figures."""

from samplescope_app.figures.calibration import reliability
from samplescope_app.figures.causes import causes_axes, causes_figure
from samplescope_app.figures.compare import Cloud, score_scatter, truth_scatter
from samplescope_app.figures.curves import bars_by_class, lines
from samplescope_app.figures.history import history
from samplescope_app.figures.map import (
    MOST_KINDS,
    Layer,
    drawn_rows,
    kinds,
    map_figure,
    name_places,
    scored,
)
from samplescope_app.figures.marks import mark_lowest, mark_place
from samplescope_app.figures.matrices import heatmap
from samplescope_app.figures.parts import parts
from samplescope_app.figures.scores import Bins, as_categories, histogram, score_bins
from samplescope_app.figures.summaries import summaries

__all__ = [
    "MOST_KINDS",
    "Bins",
    "Cloud",
    "Layer",
    "as_categories",
    "bars_by_class",
    "causes_axes",
    "causes_figure",
    "drawn_rows",
    "heatmap",
    "histogram",
    "history",
    "kinds",
    "lines",
    "map_figure",
    "mark_lowest",
    "mark_place",
    "name_places",
    "parts",
    "reliability",
    "score_bins",
    "score_scatter",
    "scored",
    "summaries",
    "truth_scatter",
]
