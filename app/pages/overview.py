"""Overview: the extremes of a score as pictures, its histogram, and the facts about the run."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import navigation
from samplescope_app.panels import dataset_facts, distribution, evidence, extremes, header, health, scores
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_EXPLANATION = (
    "The extremes of a score as pictures, its distribution, and the facts about the run. Choose a score to see the "
    "examples that it ranks first and last."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Overview", f"{_EXPLANATION}\n\n{_legend(run)}")
    for note in run.manifest.dataset.notes if run.manifest.dataset else []:
        st.info(plain(note), icon=":material/info:")
    score_column, found = st.columns([2, 5], vertical_alignment="bottom", gap="large")
    with score_column:
        score = scores.select(run, "overview score", persist_state="session")
    with found:
        health.draw(run)
    extremes.draw(run, score)
    histogram = st.container()
    left, right = st.columns(2, gap="large")
    with left:
        dataset_facts.draw(run)
    with right:
        dataset_facts.meaning(run, score)
    _further(run)
    evidence.agreement(run)
    evidence.near_duplicates(run)
    evidence.trust_in_short(run)
    with histogram:  # drawn last, so that the pictures do not wait until the browser has loaded Plotly
        distribution.draw(run, score)


def _legend(run: Run) -> str:
    """Return what stands below a tile."""
    return (
        "Below each example: its score and percentile (p97: 97% of the training examples have this score or less), its "
        f"{plain(labels.name(run))}, and the prediction if it differs (≠)."
    )


def _further(run: Run) -> None:
    """Draw links to the other pages about the run."""
    pages = (
        ("classes", f"Effects between {plain(labels.strata(run))}", "grid_on"),
        ("training", "Scores over training", "timeline"),
        ("summarize", "Training on less data", "content_cut"),
    )
    with st.container(horizontal=True, gap="large"):
        for page, label, icon in pages:
            st.page_link(
                navigation.PAGES[page],
                label=label,
                icon=f":material/{icon}:",
                query_params={"run": run.id},
                width="content",
            )


main()
