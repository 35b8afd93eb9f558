"""Compare: the quality, settings and scores of two runs of the same data."""

from __future__ import annotations

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app.data import comparison, navigation
from samplescope_app.panels import header, retraining, run_comparison, score_comparison
from samplescope_app.wording.text import plain

_EXPLANATION = (
    "Two runs that share training examples: before and after cleaning, or with different models, seeds or settings. "
    "Each point below is a training example; the two runs disagree about those far from the diagonal."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Compare", _EXPLANATION)
    others = comparison.partners(run)
    if not others:
        run_comparison.nothing_to_compare(run)
        return
    other = run_comparison.partner_select(run, others)
    before, after = comparison.in_order(run, other)
    try:
        _draw(run, before, after)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")


def _draw(run: Run, before: Run, after: Run) -> None:
    for each in (before, after):
        if not each.has_predictions:
            raise InputError(f"The model of {each.id} has not been trained yet: compare the runs when it is.")
    if comparison.parent_of(after) == before.id:
        counts = after.manifest.details["cleaning"]
        st.info(
            f"{plain(after.id)} was retrained on the cleaned set of {plain(before.id)}: {counts['dropped']:,} dropped, "
            f"{counts['relabelled']:,} relabeled. {retraining.difference(before, after)}",
            icon=":material/restart_alt:",
        )
    left, right = st.columns([7, 4], gap="large")
    with left:
        run_comparison.qualities(before, after)
        run_comparison.examples(before, after)
    with right:
        run_comparison.settings(before, after)
    score_comparison.draw(run, before, after)


main()
