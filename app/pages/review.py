"""Review: the queue of suspects, the decisions, and the export of the cleaned set."""

from __future__ import annotations

import streamlit as st

from samplescope_app.data import navigation
from samplescope_app.panels import decision_log, export, header, retraining, suspects

_EXPLANATION = (
    "The examples most likely to {be_wrong}, by a score of your choice, one after another: keep, drop or relabel each "
    "with a key, and the next one comes. Then export the cleaned set, or train on it to see what changes."
)


def main() -> None:
    """The page."""
    run = navigation.scored_run()
    be_wrong = "be labelled wrongly" if run.values is None else "have a wrong value"
    header.draw(run, "Review", _EXPLANATION.format(be_wrong=be_wrong))
    left, right = st.columns([7, 4], gap="large")
    with left:
        suspects.draw(run)
    with right:
        decision_log.draw(run)
        export.panel(run)
        retraining.panel(run)


main()
