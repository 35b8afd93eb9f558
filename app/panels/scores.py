"""A menu of scores, and a table of one example's scores."""

from __future__ import annotations

from typing import Any

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_percentile, format_score, plain, score_help


def select(run: Run, key: str, label: str = "Score", **options: Any) -> str:
    """Draw a menu of the run's scores, with the definition as help, and return the chosen one."""
    shown = st.session_state.get(key)
    help_text = score_help(run.measure(shown if shown in run.scores else run.scores[0]))
    return st.selectbox(
        label, run.scores, key=key, format_func=lambda name: run.measure(name).title, help=help_text, **options
    )


def table(run: Run, row: Row) -> None:
    """Draw every score of an example with its percentile, and its definition as help."""
    with st.container(gap=None):
        for score in run.scores:
            measure = run.measure(score)
            percentile = format_percentile(row[f"{score} percentile"])
            name, value = st.columns([29, 20], gap="xxsmall", vertical_alignment="center", wrap=False)
            name.markdown(plain(measure.title), help=score_help(measure))
            value.markdown(f"**{plain(format_score(row[score]))}** {plain(measure.unit)} :gray[{percentile}]")
