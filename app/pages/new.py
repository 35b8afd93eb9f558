"""New run: check a dataset, estimate the cost of scoring it, start the run and follow it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, find_job, job_named, jobs_in, options_target, start_job
from attribution_core.jobs.requests import run_name, why_impossible
from attribution_core.runs.names import safe_name
from samplescope_app.data import navigation, run_library
from samplescope_app.panels import data_check, jobs, run_form
from samplescope_app.wording.text import plain

_STARTED = "new started"  # session key of the job that the last click started


def main() -> None:
    """Draw the page."""
    st.subheader("New run", anchor=False)
    if _STARTED in st.session_state:
        st.query_params["job"] = st.session_state[_STARTED]
        del st.session_state[_STARTED]
    job = job_named(run_library.folder(), st.query_params.get("job", ""))
    if job is not None and job.kind in ("score", "clean"):
        _follow(job)
        return
    job = job if job is not None and job.kind == "check" else None
    st.caption(
        "Choose a labeled dataset, check what is in it and what scoring it takes on this machine, and start the run. "
        "The run continues when you close this page, the browser or the app."
    )
    _others_running()
    run_form.fill_in(job.options if job is not None else None)
    form, found = st.columns([5, 6], gap="large")
    with form:
        options = run_form.draw(lambda options: _check_button(options, job))
    with found:
        if problem := _impossible(options):
            st.error(plain(problem), icon=":material/error:")
        else:
            _result(options, job)


# -- The check -----------------------------------------------------------------------------------------------------


def _check_button(options: dict[str, Any], addressed: Job | None) -> None:
    job = find_job(run_library.folder(), "check", options_target(options)) or addressed
    known = job is not None and job.status in ("running", "done") and _same_data(job, options)
    pressed = st.button(
        "Check data and estimate",
        icon=":material/search:",
        type="secondary" if known else "primary",
        disabled=not options["data"] or bool(_impossible(options)),
    )
    if pressed:
        _check(options)


def _impossible(options: dict[str, Any]) -> str:
    """Return why no run can have these options; empty if one may, or if the data are not chosen yet."""
    return why_impossible(options) if options["data"] else ""


def _same_data(check: Job, options: dict[str, Any]) -> bool:
    """Return whether a check describes the data of these options."""
    found, wanted = ({"target": None, "task": "auto", **each} for each in (check.options, options))
    return all(found[name] == wanted[name] for name in ("data", "target", "task"))


def _check(options: dict[str, Any]) -> None:
    job = jobs.start("check", options, options_target(options))
    if job is not None:
        st.query_params["job"] = job.id
        st.rerun()


def _result(options: dict[str, Any], addressed: Job | None) -> None:
    """Show what a check found and what a run costs, for these options or the previous ones, and offer the start."""
    job = find_job(run_library.folder(), "check", options_target(options))
    if job is not None and job.status == "running":
        with st.container(border=True):
            jobs.watch(job, key="check")
        return
    if job is not None and job.status != "done":
        jobs.outcome(job)
        return
    shown = job if job is not None else addressed
    if shown is None or shown.status != "done" or not _same_data(shown, options):
        st.info(
            "Check the data first. The check takes a few seconds, reads every example once and changes nothing.",
            icon=":material/search:",
        )
        return
    data_check.found(shown)
    if data_check.estimate(shown, stale=job is None) and st.button("Estimate again", icon=":material/refresh:"):
        _check(options)
    if job is None or not job.result.get("problem"):
        _start(options)


def _start(options: dict[str, Any]) -> None:
    proposed = _proposed(options["data"])
    name = st.text_input("Run name", value=proposed, key=f"new name {proposed}", max_chars=100).strip()
    problem = _problem(name)
    if problem:
        st.error(problem, icon=":material/error:")
    st.button(
        "Start",
        icon=":material/play_arrow:",
        type="primary",
        disabled=bool(problem),
        on_click=_start_run,
        args=(options, name),
    )
    st.caption(f"Saved in {plain(run_library.folder() / name)}")


def _start_run(options: dict[str, Any], name: str) -> None:
    """Start the run, in a callback with the values on the page, so that a double click starts one run only."""
    try:
        st.session_state[_STARTED] = start_job(run_library.folder(), "score", options, name).id
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def _proposed(data: str) -> str:
    """Return an unused name derived from the data's."""
    stem = safe_name(re.sub(r"\s+", "-", Path(data).name.split(".")[0]) or "run")[:80]
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next((name for name in names if not _is_taken(name)), stem)


def _is_taken(name: str) -> bool:
    return (run_library.folder() / name).exists() or find_job(run_library.folder(), "score", name) is not None


def _problem(name: str) -> str:
    """Return why a run cannot have this name, as a sentence; empty if it can."""
    try:
        if safe_name(run_name(name)) != name:
            raise ValueError
    except ValueError:
        return "A run name may hold letters, digits, spaces, dots and hyphens, and must not start with a dot."
    if _is_taken(name):
        return f"A run named {plain(name)} already exists: choose another name."
    return ""


# -- Progress and outcome --------------------------------------------------------------------------------------------


def _others_running() -> None:
    for job in jobs_in(run_library.folder()):
        if job.kind in ("score", "clean") and job.status == "running":
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(f":material/progress_activity: **{plain(job.target)}** is running", width="content")
                st.page_link(navigation.PAGES["new"], label="Watch", query_params={"job": job.id})


def _follow(job: Job) -> None:
    """Show the progress of a run, or how it ended."""
    st.markdown(f"**{plain(job.target)}**")
    if "data" in job.options:
        st.caption(f"From {plain(job.options['data'])}, in {plain(run_library.folder() / job.target)}")
    if job.status == "running":
        with st.container(border=True):
            jobs.watch(job, key="run", above=data_check.stages)
        st.caption("The run continues when you leave this page. Find it again on the Runs page.")
        return
    data_check.stages(job)
    if job.status == "done":
        took = f" in {jobs.duration(job.seconds)}" if job.seconds is not None else ""
        st.success(f"The run is finished{took}.", icon=":material/check_circle:")
    else:
        jobs.outcome(job)
    done = job.status == "done"
    with st.container(horizontal=True):
        if done:
            onward = st.button("Open", icon=":material/insights:", type="primary")
        else:
            help_text = "Continues after the last finished stage."
            onward = st.button("Resume", icon=":material/play_arrow:", type="primary", help=help_text)
        another = st.button("New run", icon=":material/add:")
    if another:
        st.query_params.pop("job", None)
        st.rerun()
    if onward and done:
        st.switch_page(navigation.PAGES["overview"], query_params={"run": job.target})
    if onward and jobs.start(job.kind, job.options, job.target) is not None:
        st.rerun()


main()
