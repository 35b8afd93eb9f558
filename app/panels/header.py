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
_SWITCH_WIDTH = 240  # pixels


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
        _switch(run)
        st.caption(plain(facts(run)), width="stretch")
        reviewer.setting(run)
        chart.format_select()
        watch.watch(run)
    if run.awaited:
        _still_scored(run.id, tuple(run.awaited))


def _switch(run: Run) -> None:
    """Draw the name of the run; where there are others, as the menu that opens one of them on the same page."""
    titles = _titles(str(run_library.folder()), run_library.titles_changed())
    if len(titles) < 2 or run.id not in titles:
        st.caption(plain(run_library.title_of(run)), width="content")
        return
    key = f"switch run {run.id}"
    st.selectbox(
        "Run",
        list(titles),
        index=list(titles).index(run.id),
        format_func=titles.__getitem__,
        label_visibility="collapsed",
        width=_SWITCH_WIDTH,
        key=key,
        on_change=_open_other,
        args=(key,),
    )


def _open_other(key: str) -> None:
    """Show another run on this page, in a callback; what the address says about the run before does not hold for it."""
    st.query_params.from_dict({"run": st.session_state[key]})


@st.cache_data(max_entries=4, show_spinner=False)
def _titles(folder: str, changed: tuple[float, ...]) -> dict[str, str]:  # noqa: ARG001 (cache keys)
    """Return the titles of the runs that have examples, by id, newest first."""
    runs = [entry.run for entry in run_library.runs() if entry.run is not None and entry.run.has_examples]
    titles = [run_library.title_of(run) for run in runs]
    return {
        run.id: title if titles.count(title) == 1 else f"{title} ({run.id})"
        for run, title in zip(runs, titles, strict=True)
    }


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
