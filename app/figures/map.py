"""A map: places in the plane, coloured by kind or by score."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.scores import score_bins
from samplescope_app.figures.style import GREY, MARGIN_WITH_LEGEND, PALETTE

MOST_POINTS = 50_000  # more are too much for a browser
MOST_KINDS = 10  # more can't be told apart
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
]  # with the palette's colours, of which the first two come again
_SIGNED = [[0.0, "#D55E00"], [0.5, "#B8B8B8"], [1.0, "#0072B2"]]  # harm, nothing, help, as everywhere
# Streamlit's Plotly theme puts the page's own text and background, dark or light, in place of these.
_ON_PAGE, _PAGE = "#000037", "#000038"
_OUTER = (0.01, 0.99)  # quantiles at the ends of the colours: one huge score must not leave all others dark
_TICKS = 5
_LONGEST_NAME = 20  # letters on the map itself


@dataclass(frozen=True)
class Layer:
    """Points that look alike, drawn together.

    Attributes:
        name: For the legend.
        rows: Their positions in their table, ``[k]``.
        places: Float32, ``[k, 2]``.
        colour: One for all; or the score of each, float32 ``[k]``.
        symbol: Plotly's.
        back: Whether they are only the background of others.
        table: ``"train"``, or ``"evaluation"``.
    """

    name: str
    rows: np.ndarray
    places: np.ndarray
    colour: str | np.ndarray
    symbol: str = "circle"
    back: bool = False
    table: str = "train"


def drawn_rows(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Which rows of a table are drawn: all, or ``most`` at random, the same ones every time; ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def kinds(places: np.ndarray, rows: np.ndarray, categories: pd.Series, back: str | None = None) -> list[Layer]:
    """A layer for each category, in the categories' order.

    Args:
        places: Of the whole table, ``[n, 2]``.
        rows: Those to draw.
        categories: Ordered categorical of the whole table, of no more than :data:`MOST_KINDS` categories.
        back: The category to draw in grey, below the others.
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
                GREY if is_back else PALETTE[shown % len(PALETTE)],
                "circle" if is_back else _SYMBOLS[shown],
                is_back,
            )
        )
        shown += not is_back
    return sorted((layer for layer in layers if len(layer.rows)), key=lambda layer: not layer.back)


def scored(places: np.ndarray, rows: np.ndarray, values: np.ndarray) -> list[Layer]:
    """One layer with the score of each point, the highest drawn last; those without one lie below in grey."""
    values = values.astype(np.float32)
    known = rows[np.isfinite(values[rows])]
    known = known[np.argsort(values[known], kind="stable")]
    unknown = np.setdiff1d(rows, known)
    layers = [Layer("no value", unknown, places[unknown], GREY, back=True)] if len(unknown) else []
    return [*layers, Layer("training example", known, places[known], values[known])]


def map_figure(
    layers: list[Layer], *, score_title: str = "", signed: bool = False, chosen: np.ndarray | None = None
) -> go.Figure:
    """The map.

    Args:
        layers: Drawn in this order.
        score_title: Of the colour bar, with the unit.
        signed: Whether the score's colours are centred on zero.
        chosen: Rows of training examples to show as selected; the others then fade.

    Returns:
        The figure; a point's ``curve_number`` is its layer, its ``point_index`` the position in the layer's rows.
    """
    size = _marker_size(sum(len(layer.rows) for layer in layers))
    figure = go.Figure()
    for layer in layers:
        by_score = not isinstance(layer.colour, str)
        marker: dict[str, Any] = {"symbol": layer.symbol, "size": size, "opacity": 0.45 if layer.back else 0.8}
        hover = html.escape(layer.name, quote=False)
        if by_score:
            colours, bar, hover = _scale(layer.colour, signed)
            marker |= colours
            marker["colorbar"] = {
                "title": {"text": html.escape(score_title, quote=False), "side": "right"},
                "thickness": 12,
                **bar,
            }
        else:
            marker["color"] = layer.colour
        figure.add_scattergl(
            x=layer.places[:, 0],
            y=layer.places[:, 1],
            mode="markers",
            name=html.escape(layer.name, quote=False),
            marker=marker,
            showlegend=not by_score,
            hovertemplate=f"{hover}<extra></extra>",
            customdata=layer.colour if by_score else None,
            selectedpoints=None if chosen is None else np.flatnonzero(_are_chosen(layer, chosen)),
        )
    axis = {"visible": False, "zeroline": False, "showgrid": False}
    figure.update_layout(
        height=620,
        margin=MARGIN_WITH_LEGEND,
        legend={"orientation": "h", "y": 0, "yanchor": "top", "itemsizing": "constant"},  # the toolbar is above
        hovermode="closest",
        dragmode="pan",
        uirevision="map",
        xaxis=axis,
        yaxis={**axis, "scaleanchor": "x"},
    )
    return figure


def name_places(figure: go.Figure, layers: list[Layer]) -> go.Figure:
    """Writes the name of each layer where its points are densest, near enough: at their median place."""
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
    """Colours of the markers, the colour bar's ticks, and the text of the hover: the score itself, never its logarithm.

    The customdata is that score; a logarithmic scale colours by the logarithm.
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
