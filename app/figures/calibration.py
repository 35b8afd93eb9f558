"""The reliability diagram: stated probabilities against how often they are right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import DASHES, GRAY, LEGEND, MARGIN_WITH_LEGEND, PALETTE, SYMBOLS

_SMALLEST, _LARGEST = 6, 14  # sizes of markers, by the number of examples


def reliability(points: pd.DataFrame, x_title: str, y_title: str) -> go.Figure:
    """Return a reliability diagram, with the diagonal of perfect calibration.

    Args:
        points: Columns series, stated and observed, in 0..1, and count, the number of examples behind a point.
        x_title: Title of the stated probabilities.
        y_title: Title of the observed shares.

    Returns:
        The figure; larger markers stand for more examples.
    """
    figure = go.Figure()
    ends = np.array([0.0, 1.0])
    line = {"color": GRAY, "dash": "dash", "width": 1.5}
    figure.add_scatter(x=ends, y=ends, mode="lines", name="as stated", line=line, hoverinfo="skip")
    for index, (name, members) in enumerate(points.groupby("series", sort=False)):
        shares = np.sqrt(members["count"] / members["count"].max())
        figure.add_scatter(
            x=members["stated"],
            y=members["observed"],
            name=str(name),
            mode="lines+markers",
            line={"color": PALETTE[index % len(PALETTE)], "dash": DASHES[index % len(DASHES)], "width": 2},
            marker={
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "size": _SMALLEST + (_LARGEST - _SMALLEST) * shares,
                "opacity": 0.85,
            },
            customdata=members["count"],
            hovertemplate="says %{x:.1%}: %{y:.1%} of %{customdata:,}<extra>%{fullData.name}</extra>",
        )
    axis = {"fixedrange": True, "tickformat": ".0%", "range": [-0.02, 1.03], "zeroline": False}
    figure.update_layout(
        height=440,
        margin=MARGIN_WITH_LEGEND,
        showlegend=True,
        legend=LEGEND,
        dragmode=False,
        xaxis={"title": x_title, **axis},
        yaxis={"title": y_title, **axis},
    )
    return figure
