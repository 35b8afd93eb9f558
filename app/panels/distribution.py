"""The histogram of a score."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import VALUE_RANGE
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import filters, navigation, session
from samplescope_app.data.query import Compare
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_title

_MOST_COLORS = 8  # Okabe-Ito has no more
_CHANGED = "changed"
_WRONG = "prediction"


def draw(run: Run, score: str) -> None:
    """Draw the histogram; clicking a bar opens its examples in Browse."""
    frame = session.examples(run)
    if frame[score].isna().any():
        frame = frame[frame[score].notna()]
    if frame.empty:
        st.info("This score has no values to draw.")
        return
    st.markdown(
        f"**Distribution of {plain(run.measure(score).title_in_sentence)}** (click a bar to browse its examples)"
    )
    plot, options = st.columns([6, 1], gap="medium")
    with options:
        categories = _coloring(run, frame)
        log_y = st.toggle("Log scale", key="overview log counts", persist_state="session")
    bins = figures.score_bins(frame[score].to_numpy(dtype="float64"))
    figure = figures.histogram(frame[score], bins, categories, score_title(run.measure(score)), log_y)
    with plot:
        event = chart.chart(
            figure,
            key=f"histogram {score}",
            on_select="rerun",
            selection_mode="points",
            alt=f"Histogram of {run.measure(score).title} over {len(frame):,} training examples",
        )
    if event.selection.points:
        clicked = event.selection.points[0]["point_index"]
        low, high = (Compare(score, sign, float(bins.edges[clicked + end])) for end, sign in enumerate((">=", "<=")))
        navigation.browse(run, replace(filters.sorted_by(run, score), conditions=(low, high)))


def _coloring(run: Run, frame: pd.DataFrame) -> pd.Series | None:
    """Return the categories to color by; with more values than the palette, one value against gray."""
    columns = _colorings(run)
    if st.session_state.get("overview color") not in columns:
        st.session_state.pop("overview color", None)  # another run's
    column = st.selectbox(
        "Color by",
        list(columns),
        index=None,
        placeholder="none",
        format_func=columns.__getitem__,
        key="overview color",
        persist_state="session",
    )
    if column is None:
        return None
    if column == _WRONG:
        return figures.as_categories(frame["correct"].map({True: "right", False: "wrong"}))
    if column == _CHANGED:
        changed = pd.Series(labels.changed(run))[frame["row"]].set_axis(frame.index)
        return figures.as_categories(changed.map({True: "changed", False: "unchanged"}))
    values = frame[column].astype("str")
    if values.nunique() <= _MOST_COLORS:
        return figures.as_categories(values)
    return figures.as_categories(
        values, st.selectbox("Highlight", sorted(values.unique()), key=f"overview highlight {column}")
    )


def _colorings(run: Run) -> dict[str, str]:
    """Return the columns that can color the bars, with their titles."""
    columns = {"label_name": "class"} if run.values is None else {VALUE_RANGE: labels.group_title(run, VALUE_RANGE)}
    if "original_label" in run.groups:
        columns[_CHANGED] = f"changed {labels.noun(run)}"
    if run.values is None and run.has_predictions:
        columns[_WRONG] = _WRONG
    return columns | {group: labels.group_title(run, group) for group in labels.kinds(run)}
