"""Classes: the effects of each class's training examples on each class.

For a regression, ranges of values stand in for the classes.
"""

from __future__ import annotations

import streamlit as st

from samplescope_app.data import navigation
from samplescope_app.panels import breakdown, class_effects, contributors, curves, header, mistakes
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_EXPLANATION = (
    "Which {many} help each other, and which compete: the mean effect of training examples of one {one} (rows) on the "
    "loss of validation examples of another (columns). Click a cell to see its strongest pairs of examples."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Classes", _EXPLANATION.format(many=plain(labels.strata(run)), one=class_effects.one(run)))
    class_effects.draw(run)
    mistakes.draw(run)
    breakdown.draw(run)
    left, right = st.columns([4, 5], gap="large")
    with left:
        if not curves.points(run, "loco").empty:
            curves.draw(run, "loco")
    with right:
        contributors.draw(run)


main()
