"""Choosing a score, and the scores of one example."""

from __future__ import annotations

from typing import Any

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.wording.text import format_percentile, format_score, plain, score_help


def select(run: Run, key: str, label: str = "Score", **options: Any) -> str:
    """Chooses one of the run's scores; its definition is the help."""
    shown = st.session_state.get(key)
    help_text = score_help(run.measure(shown if shown in run.scores else run.scores[0]))
    return st.selectbox(
        label, run.scores, key=key, format_func=lambda name: run.measure(name).title, help=help_text, **options
    )


def table(run: Run, row: dict[str, Any]) -> None:
    """Every score of an example with its percentile; the definition stands behind the question mark."""
    with st.container(gap=None):
        for score in run.scores:
            measure = run.measure(score)
            percentile = format_percentile(row[f"{score} percentile"])
            name, value = st.columns([5, 4], vertical_alignment="center", wrap=False)
            name.markdown(plain(measure.title), help=score_help(measure))
            value.markdown(f"**{plain(format_score(row[score]))}** {plain(measure.unit)} :gray[{percentile}]")
