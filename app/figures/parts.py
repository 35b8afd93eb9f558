"""Bars of the parts that something is made of, with their standard deviations."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import BLUE, GRAY, MARGIN

_ROW = 34  # pixels of a bar


def parts(table: pd.DataFrame, x_title: str) -> go.Figure:
    """Return a horizontal bar for each part with its number, the first on top.

    Args:
        table: Columns part, mean and spread.
        x_title: Title of the horizontal axis.
    """
    names = (html.escape(str(name), quote=False) for name in table["part"])
    figure = go.Figure()
    figure.add_bar(
        x=table["mean"],
        y=[f"{name}  <b>{mean:.3g}</b>" for name, mean in zip(names, table["mean"], strict=True)],
        orientation="h",
        marker={"color": BLUE},
        error_x={"array": table["spread"], "color": GRAY, "thickness": 1.5, "width": 4},
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
    figure.update_layout(
        height=_ROW * len(table) + 70,
        margin=MARGIN,
        showlegend=False,
        dragmode=False,
        xaxis={"title": x_title, "fixedrange": True, "rangemode": "tozero", "showgrid": False},
        yaxis={"autorange": "reversed", "fixedrange": True, "ticksuffix": "  "},
    )
    return figure
