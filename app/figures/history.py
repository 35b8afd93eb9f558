"""One example's score over training, compared with all others."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from samplescope_app.figures.style import BLUE, GRAY, LEGEND, MARGIN_WITH_LEGEND

_BAND = "rgba(154, 154, 154, 0.3)"
_WIDE = 30.0  # above this ratio of largest to smallest, a linear axis leaves most of the plot empty


def history(
    times: np.ndarray, values: np.ndarray, others: np.ndarray, *, x_title: str, y_title: str, log_x: bool
) -> go.Figure:
    """Return a chart of a score over training, with the band that contains 90% of the examples.

    Args:
        times: Training times, ascending, ``[times]``; positive if the axis is logarithmic.
        values: Scores of the example, ``[times]``.
        others: The 5%, 50% and 95% quantiles over all examples, ``[3, times]``.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis, which is logarithmic if all values are positive and their range is wide.
        log_x: Whether the horizontal axis is logarithmic.

    Returns:
        The figure.
    """
    low, median, high = others
    figure = go.Figure()
    for edge, fill in ((high, None), (low, "tonexty")):
        figure.add_scatter(
            x=times,
            y=edge,
            mode="lines",
            line={"width": 0, "color": GRAY},
            fill=fill,
            fillcolor=_BAND,
            name="90% of all",
            showlegend=fill is not None,
            hoverinfo="skip",
        )
    hover = "%{y:.3g} at %{x:.3g}<extra>%{fullData.name}</extra>"
    figure.add_scatter(
        x=times,
        y=median,
        mode="lines",
        line={"width": 1.5, "color": GRAY, "dash": "dash"},
        name="median",
        hovertemplate=hover,
    )
    figure.add_scatter(
        x=times,
        y=values,
        mode="lines+markers",
        line={"width": 2, "color": BLUE},
        marker={"size": 6},
        name="this example",
        hovertemplate=hover,
    )
    axis = {"fixedrange": True, "showgrid": False}
    figure.update_layout(
        height=220,
        margin=MARGIN_WITH_LEGEND,
        legend=LEGEND,
        dragmode=False,
        xaxis={"title": x_title, "type": "log" if log_x else "linear", **axis},
        yaxis={"title": y_title, "zeroline": True, **axis},
    )
    if log_x:
        figure.update_xaxes(dtick=1, exponentformat="power")
    shown = np.concatenate([values, low, median, high])
    if (shown > 0).all() and shown.max() > _WIDE * shown.min():
        figure.update_yaxes(type="log", exponentformat="power")
    return figure
