"""Background jobs on a page: the button that starts one, its progress and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, Kind, cancel_job, find_job, job_named, start_job
from attribution_core.runs import Run
from samplescope_app.data import run_library
from samplescope_app.wording.text import plain

_SECONDS_BETWEEN_LOOKS = 0.3
_DOES = {
    "survey": "Looking at the data",
    "check": "Estimating time and memory",
    "score": "Scoring",
    "verify": "Retraining to verify the scores",
    "responses": "Asking influence functions their own question",
    "without": "Retraining without the group",
    "contributions": "Averaging contributions over trainings",
    "summarize": "Training on subsets of the data",
    "regularization": "Training with other weight decays",
    "clean": "Training on the cleaned set",
}


def offer(
    run_id: str, kind: Kind, options: Mapping[str, Any], *, label: str, key: str, cost: str = "", primary: bool = False
) -> None:
    """Draw the button that starts a job for a run, or the progress of the running job, or the outcome and the button.

    The page is rerun once when the job ends, so that it shows the result.

    Args:
        run_id: The run that the job works on or creates.
        kind: One of ``attribution_core.jobs.requests.OPTIONS``.
        options: Options of the job, as its kind takes them.
        label: Label of the button.
        key: Streamlit's key.
        cost: The cost of the job in words, shown beside the button.
        primary: Whether the button is the page's main one.
    """
    job = find_job(run_library.folder(), kind, run_id)
    if job is not None and job.status == "running":
        with st.container(border=True):
            watch(job, key=key)
        return
    if job is not None:
        outcome(job)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(label, key=key, icon=":material/play_arrow:", type="primary" if primary else "secondary")
        if cost:
            st.caption(plain(cost), width="content")
    if pressed and start(kind, options, run_id) is not None:
        st.rerun()


def start(kind: Kind, options: Mapping[str, Any], target: str) -> Job | None:
    """Start a job, or return the one that is running; if it is refused, show why and return None."""
    try:
        with st.spinner("Starting"):
            return start_job(run_library.folder(), kind, options, target)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")
        return None


def watch(job: Job, *, key: str, above: Callable[[Job], None] | None = None) -> None:
    """Draw the progress of a running job and a button that cancels it; rerun the whole page when it ends.

    Args:
        job: A running job.
        key: Streamlit's key.
        above: Draws more about the job above its progress, at every update.
    """
    _watched(job.id, key, above)


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _watched(job_id: str, key: str, above: Callable[[Job], None] | None) -> None:
    job = job_named(run_library.folder(), job_id)
    if job is None or job.status != "running":
        st.rerun(scope="app")
    if above is not None:
        above(job)
    progress = job.progress
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{_DOES[job.kind]}** · {_elapsed(job)}", width="stretch")
        st.button("Cancel", key=f"{key} cancel", icon=":material/stop:", on_click=_cancel, args=(job,))
    share = min(1.0, max(0.0, progress.done / progress.total)) if progress.total > 0 else 0.0
    counts = f" · {progress.done:,} of {progress.total:,}" if progress.total > 1 else ""
    st.progress(share, text=plain(progress.what.capitalize()) + counts)
    log(job)


def _cancel(job: Job) -> None:
    cancel_job(job)


def outcome(job: Job) -> None:
    """Draw how a job ended, and its log if that says more."""
    if job.status == "done":
        ended = f" in {duration(job.seconds)}" if job.seconds is not None else ""
        st.caption(f":material/check: Done{ended}, started {_started(job):%d %b %Y, %H:%M}.")
        return
    icon, show = {
        "failed": (":material/error:", st.error),
        "cancelled": (":material/stop_circle:", st.info),
        "lost": (":material/warning:", st.warning),
    }[job.status]
    show(plain(job.message), icon=icon)
    if job.status != "cancelled":
        log(job)


def log(job: Job) -> None:
    """Draw the end of a job's output in an expander; nothing if there is none."""
    tail = job.log_tail()
    if tail.strip():
        with st.expander("Log"):
            st.code(tail, language=None, wrap_lines=True)


def duration(seconds: float) -> str:
    """Return a duration in words: "8 s", "4 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def seconds_of(run: Run) -> float:
    """Return the seconds that scoring a run took; 0 if they are not known."""
    return sum(stage.seconds or 0.0 for stage in run.manifest.stages.values())


def _started(job: Job) -> datetime:
    return datetime.fromisoformat(job.started).astimezone()


def _elapsed(job: Job) -> str:
    return duration((datetime.now().astimezone() - _started(job)).total_seconds())
