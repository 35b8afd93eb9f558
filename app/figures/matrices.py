"""Heatmaps of matrices."""

from __future__ import annotations

import html
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import MARGIN
from samplescope_app.wording.text import format_score

_FULL_COLOR = 0.95  # quantile of the absolute values that gets full color
_MOST_NAMES = 40  # heatmaps with more rows have no tick labels
_MOST_NUMBERS = 12  # heatmaps with more rows or columns have no room for numbers
_MOST_CLICKABLE = 10_000  # cells
# Vermilion for harmful, blue for helpful, nearly transparent in the middle, so that zero is pale on any background.
_DIVERGING = [
    [0.0, "rgb(213, 94, 0)"],
    [0.5, "rgba(213, 94, 0, 0.06)"],
    [0.5, "rgba(0, 114, 178, 0.06)"],
    [1.0, "rgb(0, 114, 178)"],
]
_SMALLEST_PLAIN, _LARGEST_PLAIN = 0.1, 1000.0  # range of values written without a power of ten
_STRONG = 0.8  # fraction of full color above which white text is more readable than the theme's
_ON_COLOR = "#FFFFFF"
_DOT = "•"
_ON_PAGE = "#000037"  # Streamlit's Plotly theme replaces this with its strongest text color


def heatmap(
    matrix: pd.DataFrame, row_title: str, column_title: str, chosen: tuple[str, str] | None = None, unit: str = ""
) -> go.Figure:
    """Return a heatmap of a matrix on a diverging scale centered on zero; the largest values get full color.

    A dot marks a value beyond the scale, whose color tells no more than that.

    Of a matrix of counts, without negative values, the scale begins at zero.

    Plotly does not report clicks on a heatmap, so an invisible marker in the middle of each cell receives them: the
    index of the clicked point is ``row * columns + column``.

    Args:
        matrix: Values with named rows and columns; cells that are not finite are empty.
        row_title: Title of the vertical axis.
        column_title: Title of the horizontal axis.
        chosen: Row and column of a cell to frame.
        unit: Unit of the values.

    Returns:
        The figure, with the first row on top, and with numbers in the cells if they fit.
    """
    # Names come from the data, and Plotly takes text for HTML.
    rows, columns = (
        [html.escape(str(name), quote=False) for name in names] for names in (matrix.index, matrix.columns)
    )
    values = matrix.to_numpy(dtype="float64")
    values = np.where(np.isfinite(values), values, np.nan)  # earlier versions normalized by sums of zero
    full = _full_color(values)
    signed = bool((values < 0).any() or not (values > 0).any())
    exponent, beyond = _exponent(full), np.abs(values) > full * (1 + 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=values / 10.0**exponent,
            zmin=-full / 10.0**exponent if signed else 0.0,
            zmax=full / 10.0**exponent,
            colorscale=_DIVERGING if signed else [[0.0, _DIVERGING[2][1]], _DIVERGING[3]],
            hoverinfo="skip",
            xgap=2,
            ygap=2,
            colorbar={
                "thickness": 12,
                "outlinewidth": 0,
                "title": {"text": _scale_title(unit, exponent, bool(beyond.any())), "side": "right"},
            },
        )
    )
    if max(values.shape) <= _MOST_NUMBERS:
        _add_numbers(figure, values / 10.0**exponent, np.abs(values) >= _STRONG * full)
    if beyond.any():
        _add_dots(figure, beyond)
    if values.size <= _MOST_CLICKABLE:
        _add_targets(figure, values, rows, columns)
    if chosen is not None and chosen[0] in matrix.index and chosen[1] in matrix.columns:
        _add_frame(figure, list(matrix.index).index(chosen[0]), list(matrix.columns).index(chosen[1]))
    _lay_out(figure, rows, columns, row_title, column_title)
    return figure


def _full_color(values: np.ndarray) -> float:
    """Return the absolute value that gets full color; one huge cell must not leave the others pale."""
    sizes = np.abs(values[~np.isnan(values)])
    if not len(sizes):
        return 1.0
    return float(np.quantile(sizes, _FULL_COLOR)) or float(sizes.max()) or 1.0


def _exponent(full: float) -> int:
    """Return a power of ten, a multiple of three, that leaves numbers with few digits."""
    return 0 if _SMALLEST_PLAIN <= full < _LARGEST_PLAIN else 3 * math.floor(math.log10(full) / 3)


def _scale_title(unit: str, exponent: int, exceeded: bool) -> str:
    power = f"10<sup>{exponent}</sup>".replace("-", "−") if exponent else ""
    mark = f"({_DOT} beyond the scale)" if exceeded else ""
    return " ".join(part for part in (power, html.escape(unit, quote=False), mark) if part)


def _number(value: float) -> str:
    """Return a number in two digits, or more before the decimal point."""
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", "−")


def _add_numbers(figure: go.Figure, values: np.ndarray, strong: np.ndarray) -> None:
    """Add the numbers in two layers: white on strong colors, and in the theme's color elsewhere."""
    for members, color in ((~strong & ~np.isnan(values), _ON_PAGE), (strong, _ON_COLOR)):
        row, column = np.nonzero(members)
        figure.add_scatter(
            x=column,
            y=row,
            mode="text",
            text=[_number(value) for value in values[members]],
            textfont={"size": 11, "color": color},
            hoverinfo="skip",
            showlegend=False,
        )


def _add_dots(figure: go.Figure, beyond: np.ndarray) -> None:
    """Add a dot in the upper right corner of some cells, which have full color."""
    row, column = np.nonzero(beyond)
    figure.add_scatter(
        x=column + 0.36,
        y=row - 0.34,
        mode="text",
        text=[_DOT] * len(row),
        textfont={"size": 11, "color": _ON_COLOR},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_targets(figure: go.Figure, values: np.ndarray, rows: list[str], columns: list[str]) -> None:
    row, column = np.indices(values.shape).reshape(2, -1)
    figure.add_scatter(
        x=column,
        y=row,
        mode="markers",
        marker={"symbol": "square", "size": 8, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=np.array([[rows[i], columns[j]] for i, j in zip(row, column, strict=True)], dtype=object),
        text=[format_score(value) for value in values.ravel()],
        hovertemplate="%{customdata[0]} → %{customdata[1]}: %{text}<extra></extra>",
        showlegend=False,
    )


def _add_frame(figure: go.Figure, row: int, column: int) -> None:
    """Add a frame around one cell, in a gray that is visible in both themes."""
    figure.add_shape(
        type="rect",
        x0=column - 0.5,
        x1=column + 0.5,
        y0=row - 0.5,
        y1=row + 0.5,
        line={"width": 3, "color": "rgb(128, 128, 128)"},
    )


def _lay_out(figure: go.Figure, rows: list[str], columns: list[str], row_title: str, column_title: str) -> None:
    named = len(rows) <= _MOST_NAMES and len(columns) <= _MOST_NAMES
    axis = {"fixedrange": True, "showgrid": False, "zeroline": False}
    figure.update_layout(
        height=480,
        margin=MARGIN,
        dragmode=False,
        clickmode="event+select",
        hovermode="closest",
        hoverdistance=-1,  # the nearest marker belongs to the cell under the pointer
        xaxis={
            "title": column_title,
            "tickvals": list(range(len(columns))) if named else [],
            "ticktext": columns,
            "range": [-0.5, len(columns) - 0.5],
            **axis,
        },
        yaxis={
            "title": row_title,
            "tickvals": list(range(len(rows))) if named else [],
            "ticktext": rows,
            "range": [len(rows) - 0.5, -0.5],
            **axis,
        },
    )
