"""The two causes of sensitivity: prediction error against prediction variance, example by example."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from samplescope_app.figures.compare import lowest_drawn
from samplescope_app.figures.map import Layer, add_points
from samplescope_app.figures.style import GRAY, MARGIN_WITH_LEGEND

_POINTS = 60  # of a line of equal product
_MOST_LINES = 6
_DECADES = 2.0  # of a logarithmic axis; a shorter one has ticks at 1, 2 and 5 times the powers of ten
_PADDING = 0.03  # of the range of an axis, beyond its first and last point


def causes_axes(places: np.ndarray) -> tuple[np.ndarray, tuple[bool, bool]]:
    """Return the coordinates to draw, and which of the two axes are logarithmic: where some values are above zero.

    On two such axes, equal products are straight lines. Values near zero, which would stretch an axis over many
    decades, are drawn at its lower end.

    Args:
        places: Errors and variances, ``[n, 2]``; some may be unknown.
    """
    known = places[np.isfinite(places).all(axis=1)]
    positive = (known > 0).any(axis=0)
    floors = [lowest_drawn(known[:, axis]) if positive[axis] else -np.inf for axis in (0, 1)]
    return np.maximum(places, np.array(floors, dtype=places.dtype)), (bool(positive[0]), bool(positive[1]))


def causes_figure(
    layers: list[Layer],
    x_title: str,
    y_title: str,
    logarithmic: tuple[bool, bool],
    *,
    score_title: str = "",
    signed: bool = False,
    chosen: np.ndarray | None = None,
) -> go.Figure:
    """Return the scatter plot, with lines of equal product of the two.

    Args:
        layers: Layers, in the order of drawing, at least one of them with points.
        x_title: Title of the horizontal axis, the prediction error.
        y_title: Title of the vertical axis, the prediction variance.
        logarithmic: Whether each axis is logarithmic.
        score_title: As in :func:`~samplescope_app.figures.map.map_figure`.
        signed: As there.
        chosen: As there.

    Returns:
        The figure; its first curves are ``layers``, and ``point_index`` of their points indexes the rows of a layer.
    """
    figure = go.Figure()
    hover = "<br>error %{x:.3g}, variance %{y:.3g}"
    add_points(figure, layers, score_title=score_title, signed=signed, chosen=chosen, hover=hover)
    every = np.concatenate([layer.places for layer in layers])
    ranges = [_range(every[:, axis], logarithmic[axis]) for axis in (0, 1)]
    for index, (product, x, y) in enumerate(_equal_products(every, ranges, logarithmic)):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+text",
            text=[f"{product:g}", *[""] * (len(x) - 1)],
            textposition="top center",
            textfont={"color": GRAY},
            cliponaxis=False,
            name="equal variance × error",
            legendgroup="lines",
            showlegend=index == 0,
            line={"color": GRAY, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    figure.update_layout(
        height=520,
        margin=MARGIN_WITH_LEGEND,
        legend={"orientation": "h", "y": -0.14, "yanchor": "top", "itemsizing": "constant"},  # the toolbar is above
        hovermode="closest",
        dragmode="pan",
        uirevision="causes",
        xaxis=_axis(x_title, ranges[0], logarithmic[0]),
        yaxis=_axis(y_title, ranges[1], logarithmic[1]),
    )
    return figure


def _axis(title: str, ends: tuple[float, float], logarithmic: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": html.escape(title, quote=False), "range": ends, "zeroline": False}
    if not logarithmic:
        return axis
    axis |= {"type": "log", "dtick": 1, "exponentformat": "power"}
    if ends[1] - ends[0] < _DECADES:  # powers of ten alone would be few ticks
        exponents = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        axis["tickvals"] = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
        axis["ticktext"] = [f"{value:g}" for value in axis["tickvals"]]
    return axis


def _range(values: np.ndarray, logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis as Plotly takes them: exponents of ten of a logarithmic one."""
    drawn = np.log10(values.astype(np.float64)) if logarithmic else values
    low, high = float(drawn.min()), float(drawn.max())
    margin = _PADDING * (high - low) or 0.5
    return low - margin, high + margin


def _equal_products(
    places: np.ndarray, ranges: list[tuple[float, float]], logarithmic: tuple[bool, bool]
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return the lines of round products inside the axes: product, and its coordinates from the left to the right."""
    (left, right), (low, high) = (
        (10**a, 10**b) if log else (a, b) for (a, b), log in zip(ranges, logarithmic, strict=True)
    )
    products = places.astype(np.float64).prod(axis=1)
    positive = products[products > 0]
    if not len(positive) or right <= 0 or high <= 0:
        return []
    ends = np.log10(np.quantile(positive, [0.02, 1]))
    powers = np.arange(np.ceil(ends[0]), np.floor(ends[1]) + 1)[-_MOST_LINES:]
    lines = []
    for product in 10.0**powers:
        first, last = product / high, min(right, product / max(low, 1e-12 * high))
        first = max(first, left, 1e-12 * right)
        if first < last:
            x = np.geomspace(first, last, _POINTS)
            lines.append((float(product), x, product / x))
    return lines
