"""Figures: pure functions from tables to Plotly."""

from samplescope_app.figures.curves import bars_by_class, lines
from samplescope_app.figures.matrices import heatmap
from samplescope_app.figures.scores import Bins, as_categories, histogram, score_bins

__all__ = ["Bins", "as_categories", "bars_by_class", "heatmap", "histogram", "lines", "score_bins"]
