"""A map: points in the plane, colored by category or by score."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from attribution_core.runs.store import SplitName
from samplescope_app.figures.scores import score_bins
from samplescope_app.figures.style import BLUE, GRAY, MARGIN_WITH_LEGEND, PALETTE

MOST_POINTS = 50_000  # a browser cannot draw more
MOST_KINDS = 10  # more cannot be distinguished
_SYMBOLS = [
    "circle",
    "square",
    "diamond",
    "cross",
    "x",
    "triangle-up",
    "star",
    "triangle-down",
    "pentagon",
    "hourglass",
]  # each with a color of the palette
_SIGNED = [[0.0, "#D55E00"], [0.5, "#B8B8B8"], [1.0, BLUE]]  # harmful, neutral, helpful, as on every page
# Streamlit's Plotly theme replaces these with the text and background colors of the page.
_ON_PAGE, _PAGE = "#000037", "#000038"
_OUTER = (0.01, 0.99)  # quantiles at the ends of the color scale, so that one huge score does not leave all others dark
_TICKS = 5
_LONGEST_NAME = 20  # characters of a label on the map


@dataclass(frozen=True)
class Layer:
    """Points drawn in the same style.

    Attributes:
        name: Name in the legend.
        rows: Positions in their table, ``[k]``.
        places: Coordinates, float32 ``[k, 2]``.
        color: One color for all points, or the score of each, float32 ``[k]``.
        symbol: Plotly's name of the marker.
        back: Whether the points are the background of others.
        table: ``"train"`` or ``"evaluation"``.
    """

    name: str
    rows: np.ndarray
    places: np.ndarray
    color: str | np.ndarray
    symbol: str = "circle"
    back: bool = False
    table: SplitName = "train"


def drawn_rows(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Return the rows of a table to draw, ascending: all, or a fixed random sample of ``most``."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def kinds(places: np.ndarray, rows: np.ndarray, categories: pd.Series, back: str | None = None) -> list[Layer]:
    """Return a layer for each category, in the order of the categories.

    Args:
        places: Coordinates of the whole table, ``[n, 2]``.
        rows: Rows to draw.
        categories: Ordered categorical of the whole table, with at most :data:`MOST_KINDS` categories.
        back: Category to draw in gray, below the others.
    """
    codes = categories.cat.codes.to_numpy()[rows]
    layers, shown = [], 0
    for code, name in enumerate(categories.cat.categories):
        members = rows[codes == code]
        is_back = name == back
        layers.append(
            Layer(
                str(name),
                members,
                places[members],
                GRAY if is_back else PALETTE[shown % len(PALETTE)],
                "circle" if is_back else _SYMBOLS[shown],
                is_back,
            )
        )
        shown += not is_back
    return sorted((layer for layer in layers if len(layer.rows)), key=lambda layer: not layer.back)


def scored(places: np.ndarray, rows: np.ndarray, values: np.ndarray) -> list[Layer]:
    """Return a layer with the score of each point, the highest drawn last; points without a score are gray below it."""
    values = values.astype(np.float32)
    known = rows[np.isfinite(values[rows])]
    known = known[np.argsort(values[known], kind="stable")]
    unknown = np.setdiff1d(rows, known)
    layers = [Layer("no value", unknown, places[unknown], GRAY, back=True)] if len(unknown) else []
    return [*layers, Layer("training example", known, places[known], values[known])]


def map_figure(
    layers: list[Layer], *, score_title: str = "", signed: bool = False, chosen: np.ndarray | None = None
) -> go.Figure:
    """Return the figure of a map.

    Args:
        layers: Layers, in the order of drawing.
        score_title: Title of the color bar, with the unit.
        signed: Whether the color scale is centered on zero.
        chosen: Rows of training examples to show as selected; the others fade.

    Returns:
        The figure; ``curve_number`` of a point indexes ``layers``, ``point_index`` the rows of that layer.
    """
    figure = go.Figure()
    add_points(figure, layers, score_title=score_title, signed=signed, chosen=chosen)
    axis = {"visible": False, "zeroline": False, "showgrid": False}
    figure.update_layout(
        height=620,
        margin=MARGIN_WITH_LEGEND,
        legend={"orientation": "h", "y": 0, "yanchor": "top", "itemsizing": "constant"},  # the toolbar is above
        hovermode="closest",
        dragmode="pan",
        uirevision="map",
        xaxis=axis,
        yaxis=axis,  # its scale is not that of the other, so that the map fills the page: no axis has a meaning
    )
    return figure


def add_points(
    figure: go.Figure,
    layers: list[Layer],
    *,
    score_title: str = "",
    signed: bool = False,
    chosen: np.ndarray | None = None,
    hover: str = "",
) -> None:
    """Add a curve for each layer; arguments are those of :func:`map_figure`, and ``hover`` more text at a point."""
    size = _marker_size(sum(len(layer.rows) for layer in layers))
    for layer in layers:
        marker: dict[str, Any] = {"symbol": layer.symbol, "size": size, "opacity": 0.45 if layer.back else 0.8}
        shown = html.escape(layer.name, quote=False)
        if not isinstance(layer.color, str):
            colors, bar, shown = _scale(layer.color, signed)
            marker |= colors
            marker["colorbar"] = {
                "title": {"text": html.escape(score_title, quote=False), "side": "right"},
                "thickness": 12,
                **bar,
            }
        else:
            marker["color"] = layer.color
        figure.add_scattergl(
            x=layer.places[:, 0],
            y=layer.places[:, 1],
            mode="markers",
            name=html.escape(layer.name, quote=False),
            marker=marker,
            showlegend=isinstance(layer.color, str),
            # The card of a point says its class; Plotly's own label adds the numbers.
            hoverinfo=None if hover or not isinstance(layer.color, str) else "none",
            hovertemplate=f"{shown}{hover}<extra></extra>" if hover or not isinstance(layer.color, str) else None,
            customdata=None if isinstance(layer.color, str) else layer.color,
            selectedpoints=None if chosen is None else np.flatnonzero(_are_chosen(layer, chosen)),
        )


def name_places(figure: go.Figure, layers: list[Layer]) -> go.Figure:
    """Write the name of each layer at the median of its points."""
    for layer in layers:
        if not layer.back and layer.table == "train":
            x, y = np.median(layer.places, axis=0)
            figure.add_annotation(
                x=x,
                y=y,
                text=f"<b>{html.escape(_short(layer.name), quote=False)}</b>",
                showarrow=False,
                font={"color": _ON_PAGE},
                bgcolor=_PAGE,
                opacity=0.8,
                borderpad=1,
            )
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _are_chosen(layer: Layer, chosen: np.ndarray) -> np.ndarray:
    return np.isin(layer.rows, chosen) if layer.table == "train" else np.zeros(len(layer.rows), dtype=bool)


def _marker_size(count: int) -> int:
    return 4 if count > 20_000 else 5 if count > 5_000 else 7


def _scale(values: np.ndarray, signed: bool) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the marker colors, the color bar's ticks, and the hover text.

    A logarithmic scale colors by the logarithm; the hover text always shows the score itself, which is the customdata.
    """
    hover = "%{customdata:.3g}"
    if signed:
        most = float(np.quantile(np.abs(values), _OUTER[1])) or 1.0
        return {"color": values, "colorscale": _SIGNED, "cmin": -most, "cmax": most}, {}, hover
    bins = score_bins(values.astype(np.float64))
    if not bins.logarithmic:
        low, high = np.quantile(values, _OUTER)
        return {"color": values, "colorscale": "Cividis", "cmin": low, "cmax": high}, {}, hover
    low, high = (float(np.log10(max(edge, bins.edges[1]))) for edge in np.quantile(values, _OUTER))
    logarithms = np.log10(np.maximum(values, np.float32(bins.edges[1]))).astype(np.float32)
    ticks = np.linspace(low, high, _TICKS)
    bar = {"tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
    return {"color": logarithms, "colorscale": "Cividis", "cmin": low, "cmax": high}, bar, hover
