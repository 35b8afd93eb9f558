"""Runs: what is being done in the folder, and a card for each of its runs."""

from __future__ import annotations

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, Kind, find_job, forget_job, jobs_in
from attribution_core.runs import Run, RunSummary
from samplescope_app.components.gallery import mosaic
from samplescope_app.data import run_library, session
from samplescope_app.panels import jobs as job_panel
from samplescope_app.panels import parts
from samplescope_app.wording.text import plain

_CARDS_A_ROW = 3
_MOSAIC = 16
_UNFINISHED = ("failed", "incomplete")
_MAKES: tuple[Kind, ...] = ("score", "clean")  # kinds of jobs that make a run
_STATUS = {
    "complete": ("complete", ":material/check:", "green"),
    "running": ("being scored", ":material/progress_activity:", "blue"),
    "failed": ("failed", ":material/error:", "red"),
    "incomplete": ("cut off", ":material/warning:", "orange"),
}
_EXPLANATION = (
    "A run is a dataset, a model trained on it, and what each training example does to that model, in one folder. Open "
    "one, go on with one that was cut off, or start a new one. They lie in"
)


def main() -> None:
    """The page."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Runs", anchor=False, width="stretch")
        if st.button("New run", icon=":material/add:", type="primary"):
            st.switch_page(session.PAGES["new"])
    st.caption(f"{_EXPLANATION} {plain(run_library.folder())}")
    entries = run_library.runs()
    jobs = jobs_in(run_library.folder())
    _running(jobs)
    _came_to_nothing(jobs, {entry.id for entry in entries})
    if not entries:
        if not jobs:
            st.info(
                "There are no runs in this folder yet. Make one with New run, or in a terminal:",
                icon=":material/folder_open:",
            )
            st.code(f"samplescope score DATA --out {run_library.folder() / 'my-run'}", language="bash")
        return
    columns = st.columns(_CARDS_A_ROW, gap="medium")
    for index, entry in enumerate(entries):
        with columns[index % _CARDS_A_ROW], st.container(border=True):
            _card(entry)


def _running(jobs: list[Job]) -> None:
    """What is being done now, each with its progress."""
    for job in jobs:
        if job.status == "running" and job.kind != "check":
            with st.container(border=True):
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.markdown(f"**{plain(job.target)}**", width="content")
                    if job.kind in _MAKES:
                        st.page_link(session.PAGES["new"], label="Watch", query_params={"job": job.id})
                job_panel.watch(job, key=job.id)


def _came_to_nothing(jobs: list[Job], runs: set[str]) -> None:
    """Runs that were started and ended before there was a folder for them, which no card shows."""
    for job in jobs:
        if job.kind in _MAKES and job.status not in ("running", "done") and job.target not in runs:
            with st.container(border=True):
                st.markdown(f"**{plain(job.target)}**")
                job_panel.outcome(job)
                with st.container(horizontal=True):
                    again = st.button("Go on", key=f"go on {job.id}", icon=":material/play_arrow:")
                    st.button("Dismiss", key=f"forget {job.id}", on_click=forget_job, args=(job,))
                if again and job_panel.start(job.kind, job.options, job.target) is not None:
                    st.rerun()


def _card(entry: RunSummary) -> None:
    if entry.run is None:
        st.markdown(f"**{plain(entry.id)}**")
        st.badge("damaged", icon=":material/broken_image:", color="red")
        st.caption(plain(entry.problem))
        return
    run = entry.run
    opened = _mosaic(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(run.title)}**", width="stretch")
        label, icon, color = _STATUS[run.status]
        st.badge(label, icon=icon, color=color)
    st.caption(f"{plain(run.id)} · {plain(parts.facts(run))}")
    st.caption(plain(_progress(run)))
    if run.status in _UNFINISHED:
        for kind in _MAKES:
            job = find_job(run_library.folder(), kind, run.id)
            if job is not None and job.status in ("failed", "lost"):
                job_panel.outcome(job)
    with st.container(horizontal=True):
        _actions(run, opened)


def _actions(run: Run, opened: bool) -> None:
    if st.button("Open", key=f"open {run.id}", type="primary", disabled=not run.has_examples) or opened:
        session.go("overview", run)
    if run.status in _UNFINISHED and st.button("Go on", key=f"go on {run.id}", icon=":material/play_arrow:"):
        _go_on(run)


def _go_on(run: Run) -> None:
    """Scores what is missing, as it was started: with the run's own configuration."""
    cleaned = find_job(run_library.folder(), "clean", run.id)
    kind: Kind
    kind, options = ("clean", cleaned.options) if cleaned is not None else ("score", run.manifest.config)
    if job_panel.start(kind, options, run.id) is not None:
        st.rerun()


def _mosaic(run: Run) -> bool:
    """A few images spread over the training set; whether they were clicked."""
    if not run.has_examples:
        return False
    if "text" not in run.examples:
        try:
            run.thumbnail("train", 0)
        except InputError:
            st.caption("No pictures yet.")
            return False
    rows = np.linspace(0, len(run.examples) - 1, _MOSAIC).astype(int)
    return mosaic(run, rows.tolist(), key=f"mosaic {run.id}").opened is not None


def _progress(run: Run) -> str:
    """The measures of a whole run, else how far it came."""
    if run.status == "complete":
        known = dict.fromkeys([*run.manifest.measures, *run.imported])
        titles = [run.measure(name).title for name in known if name in run.known_measures]
        return f"Scores: {', '.join(titles)}"
    failed = [
        f"{name} failed: {stage.message}" for name, stage in run.manifest.stages.items() if stage.status == "failed"
    ]
    done = [name for name, stage in run.manifest.stages.items() if stage.status == "done"]
    return "; ".join([f"Finished stages: {', '.join(done) or 'none'}", *failed])


main()
