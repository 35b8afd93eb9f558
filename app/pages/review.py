"""Review: the queue of suspects, the decisions, and the export of the cleaned set."""

from __future__ import annotations

import streamlit as st

from samplescope_app.data import navigation, session
from samplescope_app.panels import bulk_acceptance, decision_log, export, header, retraining, suspects, what_if

_EXPLANATION = (
    "The examples most likely to {be_wrong}, by a score of your choice, one after another. Keep, drop or relabel each "
    "with a key; the next one follows. Then export the cleaned set, or retrain on it to measure the difference."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    be_wrong = "be mislabeled" if run.values is None else "have a wrong value"
    header.draw(run, "Review", _EXPLANATION.format(be_wrong=be_wrong))
    left, right = st.columns([7, 4], gap="large")
    with left:
        suspects.draw(run)
    with right:
        bulk_acceptance.draw(run)
        decision_log.draw(run)
        dropped = session.examples(run).query("action == 'drop'")["row"].tolist()
        if dropped:
            what_if.draw(run, dropped, "review", f"the {len(dropped):,} dropped training examples")
        export.panel(run)
        retraining.panel(run)


main()
