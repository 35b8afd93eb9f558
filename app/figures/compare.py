"""One quantity against another, example by example."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from samplescope_app.figures.style import BLUE, GRAY, LEGEND, MARGIN, MARGIN_WITH_LEGEND, PALETTE, SYMBOLS

_HEAVY_TAIL = 10.0  # above this ratio of largest to median, a linear axis squeezes most points together
_FINEST = 1e-9  # smallest value on a logarithmic axis, as a fraction of the largest
_LINE = {"color": GRAY, "width": 1.5}


@dataclass(frozen=True)
class Cloud:
    """Points of one kind.

    Attributes:
        name: Name in the legend.
        x: Horizontal coordinates, ``[n]``.
        y: Vertical coordinates, ``[n]``.
    """

    name: str
    x: np.ndarray
    y: np.ndarray


def score_scatter(clouds: Sequence[Cloud], x_title: str, y_title: str) -> go.Figure:
    """Return a scatter plot of a score of two runs, with the diagonal; logarithmic if both have a heavy positive tail.

    Args:
        clouds: Kinds of examples, the most frequent first; they differ in color and marker.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.

    Returns:
        The figure; ``curve_number`` of a clicked point indexes ``clouds``, ``point_index`` the points of that cloud.
    """
    every = [np.concatenate([getattr(cloud, axis) for cloud in clouds]) for axis in ("x", "y")]
    logarithmic = all(heavy_tailed(values) for values in every)
    floors = [lowest_drawn(values) if logarithmic else -np.inf for values in every]
    figure = go.Figure()
    for index, cloud in enumerate(clouds):
        figure.add_scattergl(
            # 64 bits would double the data sent to the browser.
            x=np.maximum(cloud.x, floors[0]).astype(np.float32),
            y=np.maximum(cloud.y, floors[1]).astype(np.float32),
            name=html.escape(cloud.name, quote=False),
            mode="markers",
            marker={
                "color": PALETTE[index % len(PALETTE)],
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "size": 6 if len(cloud.x) < 5000 else 4,
                "opacity": 0.45 if index == 0 else 0.85,
            },
            hovertemplate="%{x:.3g} before, %{y:.3g} after<extra>%{fullData.name}</extra>",
        )
    low = max(float(np.min(np.maximum(values, floor))) for values, floor in zip(every, floors, strict=True))
    high = min(float(values.max()) for values in every)
    if low < high:
        _add_diagonal(figure, low, high, "same score")
    _lay_out(figure, x_title, y_title, 460, legend=True)
    if logarithmic:
        figure.update_xaxes(type="log", exponentformat="power", dtick=1)
        figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return figure


def truth_scatter(
    estimate: np.ndarray, truth: np.ndarray, spread: np.ndarray, x_title: str, y_title: str, same_unit: bool
) -> go.Figure:
    """Return a scatter plot of predicted and actual effects, with the least-squares line.

    Args:
        estimate: Predicted effects, ``[e]``.
        truth: Actual effects, means over seeds, ``[e]``.
        spread: Standard deviations of the actual effects between seeds, ``[e]``; NaN if unknown.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        same_unit: Whether both have the same unit, so that the diagonal is a perfect estimate.

    Returns:
        The figure; the index of a point of its first curve is its index in the arrays.
    """
    figure = go.Figure()
    known = np.isfinite(spread).all()
    figure.add_scatter(
        x=estimate,
        y=truth,
        mode="markers",
        name="removed examples",
        marker={"color": BLUE, "size": 9, "opacity": 0.8},
        error_y={"array": spread, "visible": bool(known), "color": BLUE, "thickness": 1, "width": 0},
        hovertemplate="predicted %{x:.3g}, actual %{y:.3g}<extra></extra>",
    )
    bars = spread if known else 0.0
    ends = _padded(estimate), _padded(np.concatenate([truth - bars, truth + bars]))
    if np.ptp(estimate) > 0:
        slope, level = np.polyfit(estimate, truth, 1)
        _add_line(figure, np.array(ends[0]), slope * np.array(ends[0]) + level, "least squares", PALETTE[1], "solid")
    if same_unit:
        low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
        if low < high:
            _add_diagonal(figure, low, high, "as predicted")
    _lay_out(figure, x_title, y_title, 440, legend=True)
    figure.update_xaxes(range=ends[0], exponentformat="power")
    figure.update_yaxes(range=ends[1], exponentformat="power")
    return figure


def heavy_tailed(values: np.ndarray) -> bool:
    """Return whether a logarithmic axis suits a score: no value is negative, and a few are far above the rest."""
    return bool(len(values)) and values.min() >= 0 and values.max() > _HEAVY_TAIL * np.median(values)


def lowest_drawn(values: np.ndarray) -> float:
    """Return the lowest value on a logarithmic axis, which a few scores near zero must not stretch."""
    return max(float(np.quantile(values[values > 0], 0.005)), float(values.max()) * _FINEST)


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or abs(high) or 1.0
    return low - margin, high + margin


def _add_diagonal(figure: go.Figure, low: float, high: float, name: str) -> None:
    ends = np.array([low, high])
    _add_line(figure, ends, ends, name, GRAY, "dash")


def _add_line(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str, dash: str) -> None:
    line = {**_LINE, "color": color, "dash": dash}
    figure.add_scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip")


def _lay_out(figure: go.Figure, x_title: str, y_title: str, height: int, legend: bool) -> None:
    axis = {"fixedrange": True, "zeroline": False}
    figure.update_layout(
        height=height,
        margin=MARGIN_WITH_LEGEND if legend else MARGIN,
        showlegend=legend,
        legend=LEGEND,
        dragmode=False,
        clickmode="event+select",
        hovermode="closest",
        xaxis={"title": html.escape(x_title, quote=False), **axis},
        yaxis={"title": html.escape(y_title, quote=False), **axis},
    )
