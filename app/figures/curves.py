"""Line charts, and bars by class."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import DASHES, LEGEND, MARGIN, MARGIN_WITH_LEGEND, PALETTE, PATTERNS, SYMBOLS

_MOST_BARS = 40
_SMALLEST_DRAWN = 1e-30
_MOST_MARKERS = 40  # lines with more points have no markers


def lines(points: pd.DataFrame, x_title: str, y_title: str, log_x: bool) -> go.Figure:
    """Return a line chart of one or more series.

    Args:
        points: Columns series, x, y.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis, which starts at zero unless a value is negative.
        log_x: Whether the horizontal axis is logarithmic.

    Returns:
        The figure; series differ in color, dash and marker.
    """
    figure = go.Figure()
    # Plotly cannot place the ticks of a linear axis whose values are all smaller than this.
    points = points.assign(y=points["y"].where(points["y"].abs() > _SMALLEST_DRAWN, 0.0))
    for index, (name, members) in enumerate(points.groupby("series", sort=False)):
        figure.add_scatter(
            x=members["x"],
            y=members["y"],
            name=html.escape(str(name), quote=False),
            mode="lines+markers" if len(members) <= _MOST_MARKERS else "lines",
            line={"color": PALETTE[index % len(PALETTE)], "dash": DASHES[index % len(DASHES)], "width": 2},
            marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
            hovertemplate="%{y:.3g} at %{x:.3g}<extra>%{fullData.name}</extra>",
        )
    several = points["series"].nunique() > 1
    figure.update_layout(
        height=260,
        margin=MARGIN_WITH_LEGEND if several else MARGIN,
        showlegend=several,
        legend=LEGEND,
        dragmode=False,
        xaxis={"title": x_title, "type": "log" if log_x else "linear", "fixedrange": True, "showgrid": False},
        yaxis={"title": y_title, "fixedrange": True, "rangemode": "tozero"},
    )
    if log_x:
        figure.update_xaxes(dtick=1, exponentformat="power")
    return figure


def bars_by_class(points: pd.DataFrame, class_names: list[str], x_title: str, in_order: bool = False) -> go.Figure:
    """Return horizontal bars, one for each class and series, for at most 40 classes, longest first bar on top.

    Args:
        points: Columns series, x (the number of the class) and y; classes with NaN are omitted.
        class_names: Names of the classes, in the order of the labels.
        x_title: Title of the axis along the bars.
        in_order: Whether to keep the order of the classes, from the bottom up, as for ranges of values.
    """
    wide = points.pivot_table(index="x", columns="series", values="y", sort=False)
    wide = (wide.sort_index() if in_order else wide.sort_values(wide.columns[0])).tail(_MOST_BARS)
    figure = go.Figure()
    for index, name in enumerate(wide.columns):
        figure.add_bar(
            x=wide[name],
            y=[html.escape(class_names[int(label)]) for label in wide.index],
            orientation="h",
            name=str(name),
            marker={"color": PALETTE[index % len(PALETTE)], "pattern": {"shape": PATTERNS[index % len(PATTERNS)]}},
            hovertemplate="%{x:.3g}<extra>%{fullData.name}, %{y}</extra>",
        )
    figure.update_layout(
        barmode="group",
        height=max(260, 60 + 24 * len(wide)),
        margin=MARGIN_WITH_LEGEND,
        legend=LEGEND,
        dragmode=False,
        xaxis={"title": x_title, "fixedrange": True},
        yaxis={"fixedrange": True, "type": "category"},
    )
    return figure
