"""Trust: the scores compared with retraining, and the other evidence for how far to trust them."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import CURVES, Run
from samplescope_app.data import navigation
from samplescope_app.panels import calibration, curves, detection, header, responses, seed_agreement, verification
from samplescope_app.wording.text import plain

# Curves that other pages show, and damping and detection, which have their own sections on this page.
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
    "Every score estimates the effect of removing an example. Here the model is retrained without some of them, and "
    "each estimate is compared with the actual effect. You can trust a score on this run if it agrees well on this "
    "run; no score is right everywhere."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Trust", _EXPLANATION)
    _verification(run)
    responses.draw(run)
    left, right = st.columns(2, gap="large")
    with left:
        _damping(run)
    with right:
        seed_agreement.draw(run)
    calibration.draw(run)
    detection.draw(run)
    _studies(run)


def _verification(run: Run) -> None:
    details = run.manifest.details.get("verification")
    st.markdown("#### Predicted and actual")
    if details is None:
        st.info(
            "Not verified yet: the model has not been retrained without some of its examples. Choose how many below. "
            "More retrainings give narrower intervals, and finished ones are kept.",
            icon=":material/verified:",
        )
    else:
        verification.summary(run, details)
        verification.scatter(run, details)
    verification.more(run)
    if details is not None:
        st.markdown("**Variation between seeds**")
        verification.seeds(run, details)


def _damping(run: Run) -> None:
    st.markdown("#### Damping")
    if curves.points(run, "damping").empty:
        reason = run.manifest.details.get("self_influence", {}).get("skipped")
        st.caption(
            f"Influence function skipped: {plain(reason)}."
            if reason
            else "This run has no influence function, so there is no damping to choose."
        )
        return
    curves.draw(run, "damping")


def _studies(run: Run) -> None:
    """Draw the other curves of the run."""
    names = [name for name in CURVES if name not in _ELSEWHERE and len(curves.points(run, name))]
    reasons = {name: curves.why_missing(run, name) for name in CURVES if name not in {*_ELSEWHERE, *names}}
    reasons = {name: reason for name, reason in reasons.items() if reason}
    if not names and not reasons:
        return
    st.markdown("#### Studies of this run")
    for first in range(0, len(names), 2):
        for column, name in zip(st.columns(2, gap="large"), names[first : first + 2], strict=False):
            with column:
                curves.draw(run, name)
    for name, reason in reasons.items():
        st.caption(f"{plain(run.curve(name).title)} skipped: {plain(reason.rstrip('.'))}.")


main()
