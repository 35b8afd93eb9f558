"""Marks on line charts."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import GRAY, PALETTE


def mark_lowest(figure: go.Figure, points: pd.DataFrame, series: list[str]) -> go.Figure:
    """Mark the lowest point of some series with a star and its horizontal coordinate.

    Args:
        figure: A figure from :func:`~samplescope_app.figures.curves.lines`, over the same points.
        points: Columns series, x, y.
        series: Series to mark; missing ones are ignored.

    Returns:
        The same figure.
    """
    order = list(dict.fromkeys(points["series"]))
    for name in series:
        members = points[(points["series"] == name) & points["y"].notna()]
        if members.empty:
            continue
        lowest = members.iloc[int(members["y"].to_numpy().argmin())]
        figure.add_scatter(
            x=[lowest["x"]],
            y=[lowest["y"]],
            mode="markers+text",
            marker={"symbol": "star", "size": 15, "color": PALETTE[order.index(name) % len(PALETTE)]},
            text=[f"{lowest['x']:g}"],
            textposition="bottom center",
            showlegend=False,
            hovertemplate=f"{html.escape(name, quote=False)} is lowest: %{{y:.3g}} at %{{x:g}}<extra></extra>",
        )
    return figure


def mark_place(figure: go.Figure, x: float, y: float | None = None) -> go.Figure:
    """Draw a vertical line at x, and a ring at (x, y) if y is given."""
    figure.add_shape(
        type="line", x0=x, x1=x, y0=0, y1=1, yref="paper", line={"width": 2, "color": GRAY, "dash": "dash"}
    )
    if y is not None:
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker={"symbol": "circle-open", "size": 14, "color": GRAY, "line": {"width": 3}},
            showlegend=False,
            hovertemplate="%{y:.3g} at %{x:.3g}<extra></extra>",
        )
    return figure
