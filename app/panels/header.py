"""The head of every page about a run."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components import chart
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain


def draw(run: Run, page: str, explanation: str, measure: str | None = None) -> None:
    """The page's title, one quiet line about the run, and what the page shows.

    Args:
        run: The run.
        page: The title.
        explanation: What one sees and can do here, in Markdown; one paragraph.
        measure: The one that the page is about, which ends the paragraph with its definition.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(page, anchor=False, width="stretch")
        chart.format_select()
    st.caption(f"{plain(run.title)} · {plain(facts(run))}")
    if measure is not None:
        explanation += f" **{plain(run.measure(measure).title)}:** {plain(run.measure(measure).definition)}"
    st.caption(explanation)


def facts(run: Run) -> str:
    """Dataset, model and date in one line."""
    manifest = run.manifest
    parts = []
    if manifest.dataset is not None:
        sizes = manifest.dataset.sizes
        parts.append(f"{sizes.get('train', 0):,} training {labels.example_noun(run)}s{_targets(run)}")
    if manifest.model.get("name"):
        parts.append(str(manifest.model["name"]))
    if "test" in run.quality:
        parts.append(f"test {run.quality_name} {run.quality['test']:.1%}")
    parts.append(f"{datetime.fromisoformat(manifest.created):%d %b %Y}")
    return " · ".join(parts)


def _targets(run: Run) -> str:
    """What is told of the examples: how many classes, or a value and its extremes."""
    if run.values is None:
        return f" in {len(run.class_names)} classes"
    if not run.has_examples:
        return f", {run.values.name}"
    return f", {labels.value_range(run, run.examples['label'])}"
