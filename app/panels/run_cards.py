"""Running jobs, jobs that left no run, and the card of a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, Kind, find_job, forget_job
from attribution_core.runs import Run, RunSummary
from attribution_core.runs.remarks import LONGEST_NOTES, LONGEST_TITLE, Remarks, write_remarks
from attribution_core.runs.trash import KEPT_DAYS, DeletedRun, delete_run, deleted_runs, restore_run
from samplescope_app.components.gallery import mosaic
from samplescope_app.data import navigation, run_library
from samplescope_app.panels import header, jobs
from samplescope_app.wording.text import plain

_MOSAIC = 16
_DELETED = "run deleted"  # session key of the latest deletion
_UNFINISHED = ("failed", "incomplete")
_MAKES: tuple[Kind, ...] = ("score", "clean")  # kinds of jobs that create a run
_STATUS: dict[str, tuple[str, str, Literal["green", "blue", "red", "orange"]]] = {
    "complete": ("complete", ":material/check:", "green"),
    "running": ("running", ":material/progress_activity:", "blue"),
    "failed": ("failed", ":material/error:", "red"),
    "incomplete": ("unfinished", ":material/warning:", "orange"),
}


def running(entries: list[Job]) -> None:
    """Draw the running jobs with their progress."""
    for job in entries:
        if job.status == "running" and job.kind not in ("survey", "check"):
            with st.container(border=True):
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.markdown(f"**{plain(job.target)}**", width="content")
                    if job.kind in _MAKES:
                        st.page_link(navigation.PAGES["new"], label="Watch", query_params={"job": job.id})
                jobs.watch(job, key=job.id)


def without_a_run(entries: list[Job], runs: set[str]) -> None:
    """Draw the runs that ended before their folder was created, which have no card."""
    for job in entries:
        if job.kind in _MAKES and job.status not in ("running", "done") and job.target not in runs:
            with st.container(border=True):
                st.markdown(f"**{plain(job.target)}**")
                jobs.outcome(job)
                with st.container(horizontal=True):
                    again = st.button("Resume", key=f"resume {job.id}", icon=":material/play_arrow:")
                    st.button("Dismiss", key=f"dismiss {job.id}", on_click=forget_job, args=(job,))
                if again and jobs.start(job.kind, job.options, job.target) is not None:
                    st.rerun()


def card(entry: RunSummary) -> None:
    """Draw the card of a run."""
    if entry.run is None:
        st.markdown(f"**{plain(entry.id)}**")
        st.badge("damaged", icon=":material/broken_image:", color="red")
        st.caption(plain(entry.problem))
        return
    run = entry.run
    opened = _mosaic(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(run_library.title_of(run))}**", width="stretch")
        label, icon, color = _STATUS[run.status]
        st.badge(label, icon=icon, color=color)
    st.caption(f"{plain(run.id)} · {plain(header.facts(run))}")
    st.caption(plain(_progress(run)))
    if notes := run_library.remarks_of(run).notes:
        st.markdown(f":material/notes: {plain(notes)}")
    if run.status in _UNFINISHED:
        for kind in _MAKES:
            job = find_job(run_library.folder(), kind, run.id)
            if job is not None and job.status in ("failed", "lost"):
                jobs.outcome(job)
    with st.container(horizontal=True):
        _actions(run, opened)


def _actions(run: Run, opened: bool) -> None:
    if st.button("Open", key=f"open {run.id}", type="primary", disabled=not run.has_examples) or opened:
        navigation.go("overview", run)
    if run.status in _UNFINISHED and st.button("Resume", key=f"resume {run.id}", icon=":material/play_arrow:"):
        _resume(run)
    with st.popover("Manage", icon=":material/more_horiz:", type="tertiary", key=f"manage {run.id}"):
        _manage(run)


def _manage(run: Run) -> None:
    """Draw the fields of the title and the notes, and the button that deletes the run."""
    remarks = run_library.remarks_of(run)
    with st.form(f"remarks {run.id}", border=False):
        title = st.text_input("Title", remarks.title, placeholder=run.title, max_chars=LONGEST_TITLE)
        notes = st.text_area("Notes", remarks.notes, max_chars=LONGEST_NOTES)
        if st.form_submit_button("Save", icon=":material/check:"):
            _report(lambda: write_remarks(run.path, Remarks(title=title.strip(), notes=notes.strip())))
            st.rerun()
    st.caption(f"Deleted runs stay in the trash of this folder for {KEPT_DAYS} days.")
    st.button("Delete", key=f"delete {run.id}", icon=":material/delete:", on_click=_delete, args=(run.id,))


def _delete(run_id: str) -> None:
    def delete() -> None:
        st.session_state[_DELETED] = delete_run(run_library.folder(), run_id)

    _report(delete)


def just_deleted() -> None:
    """Draw the button that puts back the run which this session deleted last."""
    deleted: DeletedRun | None = st.session_state.get(_DELETED)
    if deleted is None or not deleted.path.exists():
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f":material/delete: {plain(deleted.id)} is in the trash.", width="content")
        st.button("Undo", icon=":material/undo:", on_click=_restore, args=(deleted,))


def _restore(deleted: DeletedRun) -> None:
    _report(lambda: restore_run(run_library.folder(), deleted))


def _report(action: Callable[[], object]) -> None:
    """Do something with a run, or show why it cannot be done."""
    try:
        action()
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def trash() -> None:
    """Draw the runs that were deleted, with a button each that puts it back."""
    found = deleted_runs(run_library.folder())
    if not found:
        return
    count = f"{len(found):,} deleted run{'' if len(found) == 1 else 's'}"
    st.markdown(f":material/delete: **{count}**")
    for deleted in found:
        with st.container(horizontal=True, vertical_alignment="center"):
            moment = datetime.fromtimestamp(deleted.deleted)
            st.caption(f"{plain(deleted.id)}, deleted {moment:%d %b %Y, %H:%M}", width="content")
            st.button(
                "Put back",
                key=f"restore {deleted.path.name}",
                icon=":material/undo:",
                on_click=_restore,
                args=(deleted,),
            )


def found_by(words: str, entry: RunSummary) -> bool:
    """Return whether a run's id, title, notes and facts together contain all of some words."""
    parts = [entry.id]
    if entry.run is not None:
        remarks = run_library.remarks_of(entry.run)
        parts += [entry.run.title, remarks.title, remarks.notes, header.facts(entry.run)]
    text = " ".join(parts).casefold()
    return all(word in text for word in words.casefold().split())


def _resume(run: Run) -> None:
    """Resume scoring with the run's own configuration."""
    cleaned = find_job(run_library.folder(), "clean", run.id)
    kind: Kind
    kind, options = ("clean", cleaned.options) if cleaned is not None else ("score", run.manifest.config)
    if jobs.start(kind, options, run.id) is not None:
        st.rerun()


def _mosaic(run: Run) -> bool:
    """Draw a few examples spread over the training set; return whether they were clicked."""
    if not run.has_examples:
        return False
    if "text" not in run.examples:
        try:
            run.thumbnail("train", 0)
        except InputError:
            st.caption("No images yet.")
            return False
    rows = np.linspace(0, len(run.examples) - 1, _MOSAIC).astype(int)
    return mosaic(run, rows.tolist(), key=f"mosaic {run.id}").opened is not None


def _progress(run: Run) -> str:
    """Return the measures of a complete run, or the progress of another one."""
    if run.status == "complete":
        known = dict.fromkeys([*run.manifest.measures, *run.imported])
        titles = [run.measure(name).title for name in known if name in run.known_measures]
        return f"Scores: {', '.join(titles)}"
    failed = [
        f"{name} failed: {stage.message}" for name, stage in run.manifest.stages.items() if stage.status == "failed"
    ]
    done = [name for name, stage in run.manifest.stages.items() if stage.status == "done"]
    return "; ".join([f"Finished stages: {', '.join(done) or 'none'}", *failed])
