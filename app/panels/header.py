"""The header of every page about a run."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components import chart, watch
from samplescope_app.data import run_library
from samplescope_app.panels import reviewer
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_SECONDS_BETWEEN_LOOKS = 1.0


def draw(run: Run, page: str, explanation: str, measure: str | None = None) -> None:
    """Draw in one line the title of the page, its explanation behind a question mark, and the facts about the run.

    Args:
        run: The run.
        page: Title of the page.
        explanation: What the page shows and what you can do there, a paragraph in Markdown.
        measure: The measure that the page is about; its definition ends the paragraph.
    """
    if measure is not None:
        explanation += f"\n\n**{plain(run.measure(measure).title)}:** {plain(run.measure(measure).definition)}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(page, anchor=False, width="content", help=explanation)
        st.caption(f"{plain(run.title)} · {plain(facts(run))}", width="stretch")
        reviewer.setting(run)
        chart.format_select()
        watch.watch(run)
    if run.awaited:
        _still_scored(run.id, tuple(run.awaited))


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _still_scored(run_id: str, shown: tuple[str, ...]) -> None:
    """Say which scores are still to come, and rerun the page when some are there."""
    run = run_library.open_run(run_id)
    awaited = run.awaited
    if tuple(awaited) != shown:
        st.rerun(scope="app")
    stages = len(run.manifest.stages)
    now, later = plain(awaited[0]), plain(", ".join(awaited[1:]))
    text = f"This run is still being scored. Now: {now}" + (f"; then {later}." if later else ".")
    st.progress(1 - len(awaited) / stages, text=text)


def facts(run: Run) -> str:
    """Return dataset, model and date in one line."""
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
    """Return what the examples are labeled with: the number of classes, or the target column and its range."""
    if run.values is None:
        return f" in {len(run.class_names)} classes"
    if not run.has_examples:
        return f", {run.values.name}"
    return f", {labels.value_range(run, run.examples['label'])}"
