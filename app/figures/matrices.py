"""Matrices on a colour scale."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import MARGIN

_FULL_COLOUR = 0.95  # share of a heatmap's cells that are paler than full colour
_MOST_NAMES = 40  # a heatmap with more rows names none


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
        margin=MARGIN,
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
