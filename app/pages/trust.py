"""Trust: the scores against retraining, and everything else that says how far to trust them."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import CURVES, Run
from samplescope_app.data import navigation
from samplescope_app.panels import curves, detection, header, seed_agreement, verification
from samplescope_app.wording.text import plain

# The curves that stand on other pages, and damping and detection, which have sections of their own here.
_ELSEWHERE = (
    "changed_among_influencers",
    "loo_nll",
    "loco",
    "sensitivity_groups",
    "summarization",
    "summarization_linear",
    "damping",
    "detection",
)
_EXPLANATION = (
    "Every score is an estimate of what would happen without an example. Here the model is really trained again, "
    "without some of them, and each estimate is laid beside what happened. A score that agrees well on this run may be "
    "trusted on this run; none is right everywhere."
)


def main() -> None:
    """The page."""
    run = navigation.scored_run()
    header.draw(run, "Trust", _EXPLANATION)
    _verification(run)
    left, right = st.columns(2, gap="large")
    with left:
        _damping(run)
    with right:
        seed_agreement.draw(run)
    detection.draw(run)
    _studies(run)


def _verification(run: Run) -> None:
    details = run.manifest.details.get("verification")
    st.markdown("#### Foretold and happened")
    if details is None:
        st.info(
            "Not verified yet: nobody has trained this model again without some of its examples. Choose how many "
            "below; more give narrower intervals, and what is done is kept.",
            icon=":material/verified:",
        )
    else:
        verification.summary(run, details)
        verification.scatter(run, details)
    verification.more(run)
    if details is not None:
        st.markdown("**How much the truth differs between seeds**")
        verification.seeds(run, details)


def _damping(run: Run) -> None:
    st.markdown("#### Damping")
    if curves.points(run, "damping").empty:
        reason = run.manifest.details.get("self_influence", {}).get("skipped")
        st.caption(
            f"This run has no influence functions: {plain(reason)}."
            if reason
            else "This run has no influence functions, so no damping to choose."
        )
        return
    curves.draw(run, "damping")


def _studies(run: Run) -> None:
    """The other curves of the run: what influence costs, and how wrong faster estimates would be."""
    names = [name for name in CURVES if name not in _ELSEWHERE and len(curves.points(run, name))]
    if not names:
        return
    st.markdown("#### Studies of this run")
    for first in range(0, len(names), 2):
        for column, name in zip(st.columns(2, gap="large"), names[first : first + 2], strict=False):
            with column:
                curves.draw(run, name)


main()
