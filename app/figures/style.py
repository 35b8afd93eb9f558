"""The style that figures share: Okabe-Ito colors, which color-blind users can distinguish, and patterns and symbols."""

from __future__ import annotations

BLUE = "#0072B2"
GRAY = "#9A9A9A"
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F"]
PATTERNS = ["", "/", "x", "\\", ".", "-", "+", "|"]  # of bars, in the order of the palette
DASHES = ["solid", "dash", "dot", "dashdot"]
SYMBOLS = ["circle", "square", "diamond", "cross"]
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
MARGIN_WITH_LEGEND = {**MARGIN, "t": 32}
LEGEND = {
    "orientation": "h",
    "y": 1.0,
    "yanchor": "bottom",
    "x": 1,
    "xanchor": "right",
    "traceorder": "normal",
}  # above the plot, at the right
