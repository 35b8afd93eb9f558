"""One quantity against another, example by example."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from samplescope_app.figures.style import BLUE, GREY, LEGEND, MARGIN, MARGIN_WITH_LEGEND, PALETTE, SYMBOLS

_HEAVY_TAIL = 10.0  # above this ratio of largest to median, a linear axis shows one heap and a few points
_FINEST = 1e-9  # share of the largest value below which a logarithmic axis does not go
_LINE = {"color": GREY, "width": 1.5}


@dataclass(frozen=True)
class Cloud:
    """Points of one kind.

    Attributes:
        name: For the legend.
        x: Horizontal places, ``[n]``.
        y: Vertical places, ``[n]``.
    """

    name: str
    x: np.ndarray
    y: np.ndarray


def score_scatter(clouds: Sequence[Cloud], x_title: str, y_title: str) -> go.Figure:
    """The same score by two runs, with the diagonal; logarithmic where both are positive with a heavy tail.

    Args:
        clouds: Kinds of examples, the most frequent first; they differ in colour and marker.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.

    Returns:
        The figure; a clicked point's ``curve_number`` and ``point_index`` are places in ``clouds`` and in one of them.
    """
    every = [np.concatenate([getattr(cloud, axis) for cloud in clouds]) for axis in ("x", "y")]
    logarithmic = all(heavy_tailed(values) for values in every)
    floors = [_floor(values) if logarithmic else -np.inf for values in every]
    figure = go.Figure()
    for index, cloud in enumerate(clouds):
        figure.add_scattergl(
            # 32 bits, or the page would be sent twice as much.
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
    """What a score foretold against what happened, with the line of least squares.

    Args:
        estimate: Foretold, ``[e]``.
        truth: What happened, the mean over seeds, ``[e]``.
        spread: Its standard deviation between seeds, ``[e]``; NaN where unknown.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        same_unit: Whether both are in one unit, so that the diagonal is a perfect estimate.

    Returns:
        The figure; the index of a point of its first curve is its place in the arrays.
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
        hovertemplate="foretold %{x:.3g}, happened %{y:.3g}<extra></extra>",
    )
    bars = spread if known else 0.0
    ends = _padded(estimate), _padded(np.concatenate([truth - bars, truth + bars]))
    if np.ptp(estimate) > 0:
        slope, level = np.polyfit(estimate, truth, 1)
        _add_line(figure, np.array(ends[0]), slope * np.array(ends[0]) + level, "least squares", PALETTE[1], "solid")
    if same_unit:
        low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
        if low < high:
            _add_diagonal(figure, low, high, "as foretold")
    _lay_out(figure, x_title, y_title, 440, legend=True)
    figure.update_xaxes(range=ends[0], exponentformat="power")
    figure.update_yaxes(range=ends[1], exponentformat="power")
    return figure


def heavy_tailed(values: np.ndarray) -> bool:
    """Whether a logarithmic axis shows a score better: none is negative, and a few are far above the others."""
    return bool(len(values)) and values.min() >= 0 and values.max() > _HEAVY_TAIL * np.median(values)


def _floor(values: np.ndarray) -> float:
    """The lowest place on a logarithmic axis; a few scores that are zero but for rounding must not stretch it."""
    return max(float(np.quantile(values[values > 0], 0.005)), float(values.max()) * _FINEST)


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or abs(high) or 1.0
    return low - margin, high + margin


def _add_diagonal(figure: go.Figure, low: float, high: float, name: str) -> None:
    ends = np.array([low, high])
    _add_line(figure, ends, ends, name, GREY, "dash")


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
