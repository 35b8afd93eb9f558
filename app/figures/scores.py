"""The distribution of a score."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from samplescope_app.figures.style import GRAY, LEGEND, MARGIN, MARGIN_WITH_LEGEND, PALETTE, PATTERNS

_BINS = 48
_HEAVY_TAIL = 10.0  # above this ratio of largest to median, a linear axis fills a few bins and leaves the rest empty


@dataclass(frozen=True)
class Bins:
    """Histogram bins of one score.

    Attributes:
        edges: Edges in the score's unit, ascending, ``[bins + 1]``; they contain every value.
        logarithmic: Whether the axis is logarithmic.
    """

    edges: np.ndarray
    logarithmic: bool


def score_bins(values: np.ndarray) -> Bins:
    """Return even bins, on a logarithmic axis for scores with a heavy positive tail.

    Args:
        values: Finite scores, ``[n]`` with n >= 1.

    Returns:
        The bins.
    """
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low >= 0 and len(positive) and high > _HEAVY_TAIL * float(np.median(values)):
        # A few scores near zero must not stretch the axis, so they fall into the first bin.
        start = max(float(np.quantile(positive, 0.005)), high * 1e-9)
        if start < high:
            edges = np.geomspace(start, high, _BINS + 1)
            edges[0], edges[-1] = min(low, start), high
            return Bins(edges, True)
    if low == high:
        return Bins(np.array([low - 0.5, high + 0.5]), False)
    return Bins(np.linspace(low, high, _BINS + 1), False)


def histogram(scores: pd.Series, bins: Bins, categories: pd.Series | None, axis_title: str, log_y: bool) -> go.Figure:
    """Return a histogram of a score; the index of a bar is the index of its bin.

    Args:
        scores: Finite scores.
        bins: Bins from :func:`score_bins`.
        categories: Category of each score to stack and color by, an ordered categorical; the category "others" is
            drawn in gray.
        axis_title: Title of the score's axis.
        log_y: Whether the axis of the counts is logarithmic.

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
                "color": GRAY if others else PALETTE[index % len(PALETTE)],
                "line_width": 0,
                "pattern": {
                    "shape": "" if others else PATTERNS[index % len(PATTERNS)],
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
        margin=MARGIN if categories is None else MARGIN_WITH_LEGEND,
        showlegend=categories is not None,
        legend=LEGEND,
        dragmode=False,
        clickmode="event+select",
        hovermode="x",  # the whole column of a bar counts, so that one of a single example is easy to hit
        xaxis={
            "title": html.escape(axis_title, quote=False),
            "fixedrange": True,
            "zeroline": False,
            "showgrid": False,
            **_ticks(bins),
        },
        yaxis={"title": "examples", "fixedrange": True, "type": "log" if log_y else "linear", "rangemode": "tozero"},
    )
    if log_y:
        figure.update_yaxes(dtick=1)
    return figure


def as_categories(values: pd.Series, highlighted: str | None = None) -> pd.Series:
    """Return values as an ordered categorical; with ``highlighted``, that value against "others"."""
    text = values.astype("str")
    if highlighted is None:
        return pd.Series(pd.Categorical(text, categories=sorted(text.unique()), ordered=True), index=values.index)
    two = text.where(text == highlighted, "others")
    return pd.Series(pd.Categorical(two, categories=[highlighted, "others"], ordered=True), index=values.index)


def _positions(bins: Bins) -> tuple[np.ndarray, float]:
    """Return the centers of the bars on the drawn axis and their width, which leaves a small gap."""
    ends = np.log10(bins.edges[1:]) if bins.logarithmic else bins.edges[1:]
    # The first edge of a logarithmic axis may be zero, so the step is computed from the others.
    step = float(ends[1] - ends[0]) if len(ends) > 1 else float(bins.edges[1] - bins.edges[0])
    return ends - step / 2, step * 0.92


def _ticks(bins: Bins) -> dict[str, object]:
    """Return ticks at whole powers of ten for a logarithmic axis, which is drawn as a linear axis of exponents."""
    if not bins.logarithmic:
        return {}
    low, high = np.log10(bins.edges[1]), np.log10(bins.edges[-1])
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    decades = decades[:: max(1, len(decades) // 8)]
    return {"tickvals": decades, "ticktext": [_power_of_ten(int(decade)) for decade in decades]}


def _power_of_ten(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -4 <= exponent <= 4 else f"10<sup>{exponent}</sup>".replace("-", "−")
