"""The style that figures share: ten colors that color-blind users can distinguish, and patterns and symbols.

The colors are those of each theme, which :mod:`samplescope_app.serve` sets: Streamlit's Plotly theme puts them in
place of the numbers here. They begin as Okabe and Ito's, moved so that each has a contrast of 3 with the page and any
two differ as much as possible (CIELAB, also as seen without red or green cones): by 11.7 on white and 28.8 on the
dark page, where Okabe and Ito's eight differ by 9.7 and their blue is too dim on a dark page.
"""

from __future__ import annotations

GRAY = "#9A9A9A"
PALETTE = [f"#{number:06d}" for number in range(1, 11)]
BLUE = PALETTE[0]
ORANGE = PALETTE[1]
SKY_BLUE = PALETTE[4]
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
