"""Figures: pure functions from tables to Plotly. Colours are Okabe-Ito, safe for colour-blind eyes."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

BLUE = "#0072B2"
GREY = "#9A9A9A"
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F"]
# A second channel beside colour, in the order of the palette.
_PATTERNS = ["", "/", "x", "\\", ".", "-", "+", "|"]

_DASHES = ["solid", "dash", "dot", "dashdot"]
_SYMBOLS = ["circle", "square", "diamond", "cross"]

_BINS = 48
_FULL_COLOUR = 0.95  # share of a heatmap's cells that are paler than full colour
_MOST_NAMES = 40  # a heatmap with more rows names none, and bars go no further
_MOST_MARKERS = 40  # a line with more points shows none
_HEAVY_TAIL = 10.0  # above this ratio of largest to median, a linear axis shows a few full bins and an empty plot


@dataclass(frozen=True)
class Bins:
    """Histogram bins of one score.

    Attributes:
        edges: In the score's unit, ascending, ``[bins + 1]``; every value lies within.
        logarithmic: Whether the axis shows the logarithm.
    """

    edges: np.ndarray
    logarithmic: bool


def score_bins(values: np.ndarray) -> Bins:
    """Even bins, on a logarithmic axis for positive heavy-tailed scores.

    Args:
        values: Finite scores, ``[n]`` with n >= 1.

    Returns:
        The bins.
    """
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low >= 0 and len(positive) and high > _HEAVY_TAIL * float(np.median(values)):
        # A few scores that are zero but for rounding must not stretch the axis: they go into the first bin.
        start = max(float(np.quantile(positive, 0.005)), high * 1e-9)
        if start < high:
            edges = np.geomspace(start, high, _BINS + 1)
            edges[0], edges[-1] = min(low, start), high
            return Bins(edges, True)
    if low == high:
        return Bins(np.array([low - 0.5, high + 0.5]), False)
    return Bins(np.linspace(low, high, _BINS + 1), False)


def histogram(scores: pd.Series, bins: Bins, categories: pd.Series | None, axis_title: str, log_y: bool) -> go.Figure:
    """Counts of a score; the index of a bar is the index of its bin.

    Args:
        scores: Finite scores.
        bins: From :func:`score_bins`.
        categories: A name for each score to stack and colour by, as an ordered categorical; its last category is drawn
            grey when it is called "others".
        axis_title: Title of the score's axis.
        log_y: Whether counts stand on a logarithmic axis.

    Returns:
        The figure.
    """
    figure = go.Figure()
    positions, width = _positions(bins)
    ranges = np.column_stack([bins.edges[:-1], bins.edges[1:]])
    groups = [("examples", scores)] if categories is None else list(scores.groupby(categories, observed=True))
    for index, (name, members) in enumerate(groups):
        counts, _ = np.histogram(members.to_numpy(), bins=bins.edges)
        others = name == "others"
        figure.add_bar(
            x=positions,
            y=counts,
            width=width,
            name=str(name),
            customdata=ranges,
            marker={
                "color": GREY if others else PALETTE[index % len(PALETTE)],
                "line_width": 0,
                "pattern": {
                    "shape": "" if others else _PATTERNS[index % len(_PATTERNS)],
                    "fillmode": "overlay",
                    "fgcolor": "rgba(0, 0, 0, 0.4)",
                    "solidity": 0.25,
                },
            },
            hovertemplate="%{y:,} from %{customdata[0]:.3g} to %{customdata[1]:.3g}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(
        barmode="stack",
        bargap=0.0,
        height=260,
        margin={"l": 8, "r": 8, "t": 8 if categories is None else 32, "b": 8},
        showlegend=categories is not None,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right", "traceorder": "normal"},
        dragmode=False,
        clickmode="event+select",
        hovermode="closest",
        hoverdistance=-1,  # a bar one example high is to be hit from anywhere near
        xaxis={"title": axis_title, "fixedrange": True, "zeroline": False, "showgrid": False, **_ticks(bins)},
        yaxis={"title": "examples", "fixedrange": True, "type": "log" if log_y else "linear", "rangemode": "tozero"},
    )
    if log_y:
        figure.update_yaxes(dtick=1)
    return figure


def lines(points: pd.DataFrame, x_title: str, y_title: str, log_x: bool) -> go.Figure:
    """Curves over one axis.

    Args:
        points: Columns series, x, y.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis, which starts at zero unless values lie below.
        log_x: Whether the horizontal axis is logarithmic.

    Returns:
        The figure; series differ in colour, dash and marker.
    """
    figure = go.Figure()
    for index, (name, members) in enumerate(points.groupby("series", sort=False)):
        figure.add_scatter(
            x=members["x"],
            y=members["y"],
            name=str(name),
            mode="lines+markers" if len(members) <= _MOST_MARKERS else "lines",
            line={"color": PALETTE[index % len(PALETTE)], "dash": _DASHES[index % len(_DASHES)], "width": 2},
            marker={"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 7},
            hovertemplate="%{y:.3g} at %{x:.3g}<extra>%{fullData.name}</extra>",
        )
    several = points["series"].nunique() > 1
    figure.update_layout(
        height=260,
        margin={"l": 8, "r": 8, "t": 32 if several else 8, "b": 8},
        showlegend=several,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        dragmode=False,
        xaxis={"title": x_title, "type": "log" if log_x else "linear", "fixedrange": True, "showgrid": False},
        yaxis={"title": y_title, "fixedrange": True, "rangemode": "tozero"},
    )
    if log_x:
        figure.update_xaxes(dtick=1, exponentformat="power")
    return figure


def bars_by_class(points: pd.DataFrame, class_names: list[str], x_title: str) -> go.Figure:
    """Horizontal bars, one for each class and series, the classes with the longest first bar on top, so many as fit.

    Args:
        points: Columns series, x (the number of the class) and y; a NaN leaves the class out.
        class_names: In the order of the labels.
        x_title: What the bars measure.
    """
    wide = points.pivot_table(index="x", columns="series", values="y", sort=False)
    wide = wide.sort_values(wide.columns[0]).tail(_MOST_NAMES)
    figure = go.Figure()
    for index, name in enumerate(wide.columns):
        figure.add_bar(
            x=wide[name],
            y=[html.escape(class_names[int(label)]) for label in wide.index],
            orientation="h",
            name=str(name),
            marker={"color": PALETTE[index % len(PALETTE)], "pattern": {"shape": _PATTERNS[index % len(_PATTERNS)]}},
            hovertemplate="%{x:.3g}<extra>%{fullData.name}, %{y}</extra>",
        )
    figure.update_layout(
        barmode="group",
        height=max(260, 60 + 24 * len(wide)),
        margin={"l": 8, "r": 8, "t": 32, "b": 8},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right", "traceorder": "normal"},
        dragmode=False,
        xaxis={"title": x_title, "fixedrange": True},
        yaxis={"fixedrange": True, "type": "category"},
    )
    return figure


def heatmap(matrix: pd.DataFrame, row_title: str, column_title: str) -> go.Figure:
    """A signed matrix on a diverging scale centred on zero; the colours of the few largest values are full.

    Args:
        matrix: Values, rows and columns named; NaN stays empty.
        row_title: What the rows are.
        column_title: What the columns are.

    Returns:
        The figure, square cells, the first row on top.
    """
    # Names come from the data, and Plotly takes text for HTML.
    rows, columns = (
        [html.escape(str(name), quote=False) for name in names] for names in (matrix.index, matrix.columns)
    )
    values = matrix.to_numpy(dtype="float64")
    sizes = np.abs(values[~np.isnan(values)])
    # One huge cell, such as the normalisation gives where a row cancels out, must not leave the others white.
    full = (float(np.quantile(sizes, _FULL_COLOUR)) or float(sizes.max())) if len(sizes) else 0.0
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-(full or 1.0),
            zmax=full or 1.0,
            colorscale="RdBu",
            customdata=np.array([[f"{row}, {column}" for column in columns] for row in rows], dtype=object),
            hovertemplate="%{customdata}: %{z:.3g}<extra></extra>",
            hoverongaps=False,
            xgap=1,
            ygap=1,
            colorbar={"thickness": 12, "outlinewidth": 0},
        )
    )
    named = len(rows) <= _MOST_NAMES and len(columns) <= _MOST_NAMES
    axis = {"fixedrange": True, "showgrid": False, "zeroline": False}
    figure.update_layout(
        height=440,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        dragmode=False,
        xaxis={
            "title": column_title,
            "tickvals": list(range(len(columns))) if named else [],
            "ticktext": columns,
            **axis,
        },
        yaxis={"title": row_title, "tickvals": list(range(len(rows))) if named else [], "ticktext": rows, **axis},
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _positions(bins: Bins) -> tuple[np.ndarray, float]:
    """Centres of the bars on the drawn axis, and their common width (a hair less, to keep bars apart)."""
    ends = np.log10(bins.edges[1:]) if bins.logarithmic else bins.edges[1:]
    # The first edge of a logarithmic axis may be zero, so the step is taken from the others.
    step = float(ends[1] - ends[0]) if len(ends) > 1 else float(bins.edges[1] - bins.edges[0])
    return ends - step / 2, step * 0.92


def _ticks(bins: Bins) -> dict[str, object]:
    """Whole powers of ten for a logarithmic axis, which is drawn as a linear one of the exponents."""
    if not bins.logarithmic:
        return {}
    low, high = np.log10(bins.edges[1]), np.log10(bins.edges[-1])
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    decades = decades[:: max(1, len(decades) // 8)]
    return {"tickvals": decades, "ticktext": [_power_of_ten(int(decade)) for decade in decades]}


def _power_of_ten(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -4 <= exponent <= 4 else f"10<sup>{exponent}</sup>".replace("-", "−")


def as_categories(values: pd.Series, highlighted: str | None = None) -> pd.Series:
    """Values as an ordered categorical; with ``highlighted``, that value against "others"."""
    text = values.astype("str")
    if highlighted is None:
        return pd.Series(pd.Categorical(text, categories=sorted(text.unique()), ordered=True), index=values.index)
    two = text.where(text == highlighted, "others")
    return pd.Series(pd.Categorical(two, categories=[highlighted, "others"], ordered=True), index=values.index)
