"""A menu of scores, and a table of one example's scores."""

from __future__ import annotations

from typing import Any

import streamlit as st

from attribution_core.runs import NOT_CREDIBLE, Run, why_not_credible
from attribution_core.runs.store import table_of
from samplescope_app.data import effects, session
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_percentile, format_score, plain, score_help

_EFFECTS = {"self_influence": "influence", "contribution": "hydra"}  # score that is an effect -> method of its kind


def select(run: Run, key: str, label: str = "Score", **options: Any) -> str:
    """Draw a menu of the run's scores, with the definition as help, and return the chosen one."""
    shown = st.session_state.get(key)
    help_text = score_help(run.measure(shown if shown in run.scores else run.scores[0]))
    return st.selectbox(
        label, run.scores, key=key, format_func=lambda name: run.measure(name).title, help=help_text, **options
    )


def table(run: Run, row: Row) -> None:
    """Draw every score of an example with its percentile, and its definition as help."""
    shown = session.scores_of(run, table_of(row["split"]))
    marked = {
        score: method for score, method in _EFFECTS.items() if score in shown and _is_beyond(run, row, score, method)
    }
    with st.container(gap=None):
        for score in shown:
            measure = run.measure(score)
            percentile = format_percentile(row[f"{score} percentile"])
            name, value = st.columns([29, 20], gap="xxsmall", vertical_alignment="center", wrap=False)
            if score == "loss" and row["split"] != "train":
                name.markdown("Loss", help="Loss of the trained model on this example, which it was not trained on.")
            else:
                name.markdown(plain(measure.title), help=score_help(measure))
            sign = f" :gray[{NOT_CREDIBLE}]" if score in marked else ""
            value.markdown(f"**{plain(format_score(row[score]))}** {plain(measure.unit)} :gray[{percentile}]{sign}")
        for method in marked.values():
            st.caption(plain(why_not_credible(effects.largest_credible_rise(run, method))))


def _is_beyond(run: Run, row: Row, score: str, method: str) -> bool:
    """Return whether a score that is the effect of removing the example is more than a removal can do."""
    if method not in run.effect_methods:
        return False
    credible = effects.credible(run, method)
    if credible is None:
        return False
    before = row["loss"] if score == "self_influence" else float(credible.losses.mean())
    return bool(row[score] < -before or row[score] > credible.highest)
