"""The curves of a run, drawn as the registry describes them."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.wording.text import plain


def points(run: Run, name: str) -> pd.DataFrame:
    """Return the points of one curve: columns series (its title), x, y; no rows if the run does not have it."""
    found = run.curves[run.curves["curve"] == name]
    return found.assign(series=found["series"].astype("str").replace(run.curve(name).series_titles))


def draw(run: Run, name: str, figure: go.Figure | None = None) -> None:
    """Draw title, figure and explanation of a curve of the run.

    Args:
        run: The run.
        name: Name of the curve.
        figure: Figure to draw in place of the plain one.
    """
    curve = run.curve(name)
    st.markdown(f"**{plain(curve.title)}**")
    if figure is None:
        found = points(run, name)
        if curve.by_class:
            figure = figures.bars_by_class(found, run.strata_names, curve.y, in_order=run.values is not None)
        else:
            figure = figures.lines(found, curve.x, curve.y, curve.log_x)
    chart.chart(figure, key=f"curve {name}", alt=f"{curve.title}: {curve.definition}")
    note = run.manifest.details.get(name, {}).get("note", "")
    st.caption(f"{plain(' '.join([curve.definition, note]))} *{plain(curve.paper)}*")


def why_missing(run: Run, name: str) -> str:
    """Return why the run does not have a curve; empty if it has it, or if an earlier version did not say."""
    return str(run.manifest.details.get(name, {}).get("skipped", ""))
