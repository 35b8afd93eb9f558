"""Summarize: how much of the data can go, and which examples would."""

from __future__ import annotations

import streamlit as st

from samplescope_app.data import navigation
from samplescope_app.panels import cut_examples, header, summary

_EXPLANATION = (
    "How much of the training data you can remove before the model gets worse. The curves are measured by retraining "
    "on the rest. Move the cut to see which examples a smaller set would lose, least informative first."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Summarize", _EXPLANATION, "summary_rank" if "summary_rank" in run.examples.columns else "fsi")
    stored = run.manifest.details.get("summarization", {})
    measured = summary.measured_curves(run, stored)
    if measured.empty:
        summary.offer_summary(run)
    order = summary.removal_order(run)
    if order is None:
        return
    plot, options = st.columns([5, 2], gap="large")
    with plot:
        cut = summary.cut_slider(run, *order)
    if not measured.empty:
        with options:
            linear = summary.explanation(run, measured, cut, stored)
        with plot:
            summary.figure(run, measured, linear, cut)
    cut_examples.draw(run, cut)


main()
