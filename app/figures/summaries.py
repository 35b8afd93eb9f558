"""Accuracy or R² against the share of training examples kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import LEGEND, MARGIN_WITH_LEGEND, PALETTE, SYMBOLS

# In the order of the legend; "top" usually gives the lowest curve.
_NAMES = {
    "bottom iterative": "least informative, rescored",
    "bottom": "least informative, scored once",
    "random": "random",
    "top": "most informative",
}


def summaries(retrained: pd.DataFrame, linear: pd.DataFrame | None = None, y_title: str = "test accuracy") -> go.Figure:
    """Return curves of the accuracy or R², one for each order of removal.

    Args:
        retrained: Columns series, x (percent removed), y (a fraction) and half_width (of the 95% interval, NaN if
            unknown).
        linear: Columns series, x, y of the linearized model, drawn dotted in the same colors.
        y_title: Title of the vertical axis.

    Returns:
        The figure, against the percentage kept.
    """
    figure = go.Figure()
    for index, (series, name) in enumerate(_NAMES.items()):
        style = {"color": PALETTE[index], "width": 2}
        members = retrained[retrained["series"] == series].sort_values("x")
        if len(members):
            figure.add_scatter(
                x=100 - members["x"],
                y=members["y"],
                error_y={"array": members["half_width"], "thickness": 1.5, "width": 4, "color": PALETTE[index]},
                name=name,
                mode="lines+markers",
                line=style,
                marker={"symbol": SYMBOLS[index], "size": 8},
                customdata=np.asarray(members["half_width"], dtype="float64"),
                hovertemplate="%{y:.1%} ± %{customdata:.1%}, %{x:.0f}% kept<extra>%{fullData.name}</extra>",
            )
        if linear is not None and len(members := linear[linear["series"] == series].sort_values("x")):
            figure.add_scatter(
                x=100 - members["x"],
                y=members["y"],
                name=f"{name}, linearized",
                mode="lines",
                line={**style, "dash": "dot"},
                opacity=0.8,
                hovertemplate="%{y:.1%}, %{x:.0f}% kept<extra>%{fullData.name}</extra>",
            )
    figure.update_layout(
        height=400,
        margin=MARGIN_WITH_LEGEND,
        showlegend=True,
        legend=LEGEND,
        dragmode=False,
        xaxis={"title": "training examples kept (%)", "fixedrange": True, "showgrid": False, "range": [8, 102]},
        yaxis={"title": y_title, "fixedrange": True, "tickformat": ".0%"},
    )
    return figure
