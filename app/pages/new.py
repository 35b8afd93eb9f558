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
_SURVEYED = "new surveyed"  # session key of the data that were looked at last
_WEIGHED = "new weighed"  # session key of the estimate after which the measures that dominate were turned off
_TURNED_OFF = "new turned off"  # session key of the names of those measures


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
    check = job if job is not None and job.kind == "check" else None
    st.caption(
        "Choose a labeled dataset: what is in it appears at once. Ask for an estimate of time and memory if you like, "
        "and start the run. It continues when you close this page, the browser or the app."
    )
    _others_running()
    run_form.fill_in(check.options if check is not None else None)
    costs = _weigh(check) if check is not None and check.status == "done" else {}
    form, found = st.columns([5, 6], gap="large")
    with form:
        options = run_form.draw(costs)
    with found:
        if not options["data"]:
            st.info("Give the path of your data, or choose its folder.", icon=":material/folder_open:")
        elif _survey(options):
            problem = " ".join(run_form.wrong_numbers()) or why_impossible(options)
            if problem:
                st.error(plain(problem), icon=":material/error:")
            if _estimate(options, check, bool(problem)):
                _start(options, bool(problem))


# -- The data ------------------------------------------------------------------------------------------------------


def _survey(options: dict[str, Any]) -> bool:
    """Show what is in the data, while and after a background job looks at them; return whether they can be scored."""
    about: dict[str, Any] = {name: options[name] for name in ("data", "target", "task") if name in options}
    target = options_target(about)
    if st.session_state.get(_SURVEYED) != target:  # files may have changed since another visit
        st.session_state[_SURVEYED] = target
        jobs.start("survey", about, target)
    job = find_job(run_library.folder(), "survey", target)
    if job is None:
        return False
    if job.status == "running":
        with st.container(border=True):
            jobs.watch(job, key="survey", above=data_check.survey)
        return bool(job.found())
    data_check.survey(job)
    if job.status == "cancelled" and job.found():
        facts = job.found()
        st.caption(f"Stopped after {facts['looked']:,} of {facts['total']:,} images. The run reads all of them.")
    elif job.status != "done":
        jobs.outcome(job)
    if st.button("Look at the data again", icon=":material/refresh:", type="tertiary"):
        del st.session_state[_SURVEYED]
        st.rerun()
    return job.status == "done" or bool(job.found())


# -- The estimate --------------------------------------------------------------------------------------------------


def _weigh(check: Job) -> dict[str, str]:
    """Turn off the measures that would dominate a run, once for each estimate; return what each measure costs."""
    costs = data_check.costs(check)
    if st.session_state.get(_WEIGHED) != (check.id, check.started):
        st.session_state[_WEIGHED] = check.id, check.started
        dominant = {name for name, each in costs.items() if each.dominates}
        st.session_state[_TURNED_OFF] = dominant
        for name in dominant:
            run_form.turn_off(name)
    off = {name for name in st.session_state[_TURNED_OFF] if run_form.is_off(name)}
    return {name: f"off, since it takes {each}" if name in off else str(each) for name, each in costs.items()}


def _estimate(options: dict[str, Any], addressed: Job | None, impossible: bool) -> bool:
    """Show what a run with these options costs, and offer to measure it; return whether a run may be started."""
    st.markdown("**Estimated cost**")
    job = find_job(run_library.folder(), "check", options_target(options))
    if job is not None and job.status == "running":
        with st.container(border=True):
            jobs.watch(job, key="check")
        return True
    if job is not None and job.status != "done":
        jobs.outcome(job)
    shown = job if job is not None and job.status == "done" else addressed
    label = "Estimate time and memory"
    if shown is not None and shown.status == "done" and _same_data(shown, options):
        if not data_check.estimate(shown, options):
            return not shown.result.get("problem")
        label = "Estimate again"
    else:
        st.caption("Not estimated yet. It trains on a few examples, which can take minutes, and you can cancel it.")
    if st.button(label, icon=":material/timer:", disabled=impossible):
        started = jobs.start("check", options, options_target(options))
        if started is not None:
            st.query_params["job"] = started.id
            st.rerun()
    return True


def _same_data(check: Job, options: dict[str, Any]) -> bool:
    """Return whether a check is about the data of these options."""
    found, wanted = ({"target": None, "task": "auto", **each} for each in (check.options, options))
    return all(found[name] == wanted[name] for name in ("data", "target", "task"))


# -- The start -----------------------------------------------------------------------------------------------------


def _start(options: dict[str, Any], impossible: bool) -> None:
    proposed = _proposed(options["data"])
    name = st.text_input("Run name", value=proposed, key=f"new name {proposed}", max_chars=100).strip()
    problem = _problem(name)
    if problem:
        st.error(problem, icon=":material/error:")
    st.button(
        "Start",
        icon=":material/play_arrow:",
        type="primary",
        disabled=impossible or bool(problem),
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
