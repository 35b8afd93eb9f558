"""New run: check a dataset, estimate the cost of scoring it, start the run and follow it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, find_job, job_named, jobs_in, options_target, start_job
from attribution_core.jobs.requests import DATASETS, MODELS, run_name
from attribution_core.runs import MEASURES
from attribution_core.runs.names import safe_name
from samplescope_app.data import run_library, session
from samplescope_app.panels import data_check, jobs
from samplescope_app.wording.text import plain, score_help

_OWN, _TFIDF = "own", "tfidf"
_SOURCES = {**{name: name for name in DATASETS}, _OWN: "your own data"}
_CHOSEN = "new "  # the keys of the widgets: the options' names behind this
# Option -> its label, the value that turns it on, and the measure whose definition is its help.
_MEASURES = {
    "contributions": ("Contribution (HYDRA)", "auto", "contribution"),
    "sensitivity": ("Sensitivity (MPE)", "auto", "sensitivity"),
    "influence": ("Influence function", "auto", "self_influence"),
    "map": ("Map", "umap", None),
}
_MAP_HELP = "Places similar examples next to each other in the plane, by UMAP of the trained network's embeddings."
_STARTED = "new started"  # session key of the job that the last click started
_DEVICES = ["auto", "cpu", "cuda"]
_TASKS = {"auto": "automatic", "classification": "classification", "regression": "regression"}
_RECIPE = ("epochs", "learning_rate", "batch_size")
_DEFAULTS: dict[str, Any] = {
    "source": next(iter(DATASETS)),
    "path": "",
    "target": "",
    "task": "auto",
    "encoder": "",
    "model": "auto",
    "epochs": 20,
    "learning_rate": None,
    "batch_size": 128,
    "image_size": None,
    "max_train": None,
    "seed": 0,
    "device": "auto",
    **dict.fromkeys(_MEASURES, True),
}


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
    st.caption(
        "Choose a labeled dataset, check what is in it and what scoring it takes on this machine, and start the run. "
        "The run continues when you close this page, the browser or the app."
    )
    _others_running()
    _fill_in(job)
    form, found = st.columns([5, 6], gap="large")
    with form:
        options = _form(job)
    with found:
        _result(options, job)


# -- The form --------------------------------------------------------------------------------------------------------


def _fill_in(job: Job | None) -> None:
    """Give the widgets their first values: those of the check in the address, or else the defaults."""
    values = dict(_DEFAULTS)
    if job is not None:
        given = {**job.options, **job.options.get("recipe", {})}
        values |= {name: given[name] for name in values if name in given}
        values |= {name: given.get(name) != "off" for name in _MEASURES}
        known = given["data"] in DATASETS
        values |= {name: "" for name in ("target", "encoder") if values[name] in (None, _TFIDF)}
        values |= {"source": given["data"] if known else _OWN, "path": "" if known else given["data"]}
    for name, value in values.items():
        st.session_state.setdefault(_CHOSEN + name, value)


def _widget(name: str) -> dict[str, str]:
    return {"key": _CHOSEN + name, "persist_state": "session"}


def _chosen(name: str) -> Any:
    return st.session_state[_CHOSEN + name]


def _form(job: Job | None) -> dict[str, Any]:
    """Draw the form and return the options of a run that it holds. ``job`` is the check in the address."""
    st.markdown("**Data**")
    st.segmented_control(
        "Data",
        list(_SOURCES),
        format_func=_SOURCES.get,
        required=True,
        label_visibility="collapsed",
        **_widget("source"),
    )
    if _chosen("source") == _OWN:
        st.text_input("Path on this machine", placeholder="/data/my-images", **_widget("path"))
        st.caption(
            "Images: a folder with one subfolder for each class, a CSV or JSONL of paths and labels, Parquet, .npz, "
            "IDX files or a saved Hugging Face dataset. Texts: CSV, JSONL or Parquet with text and label, or a "
            "folder of text files for each class. Tables: CSV, JSONL or Parquet with a target column and the columns "
            "to predict it from."
        )
        target, task, encoder = st.columns(3)
        target.text_input(
            "Target column",
            placeholder="label, target, class or y",
            help="The column of a table to predict.",
            **_widget("target"),
        )
        task.selectbox(
            "Task", list(_TASKS), format_func=_TASKS.get,
            help="Whether the model predicts classes or numbers. Automatic: a target of texts, or of a few distinct "
            "whole numbers, makes a classification.",
            **_widget("task"),
        )  # fmt: skip
        encoder.text_input(
            "Sentence encoder", placeholder="tfidf",
            help="For texts: the folder of a sentence-transformers model on this machine. Empty: TF-IDF.",
            **_widget("encoder"),
        )  # fmt: skip
    else:
        st.caption(plain(DATASETS[_chosen("source")]))
    check = st.container()  # the button is drawn here, but needs the choices below
    st.markdown("**Model and training**")
    st.selectbox("Model", list(MODELS), **_widget("model"))
    st.caption(plain(MODELS[_chosen("model")]))
    first, second, third = st.columns(3)
    with first:
        st.number_input("Epochs", min_value=0, max_value=10_000, **_widget("epochs"))
        st.number_input(
            "Image size", min_value=4, max_value=1024, placeholder="original",
            help="Side in pixels to resize images to. Empty: the original size, or, where sizes differ, their median, "
            "64 at most.",
            **_widget("image_size"),
        )  # fmt: skip
    with second:
        st.number_input(
            "Learning rate", min_value=1e-6, max_value=10.0, step=0.01, format="%g",
            placeholder="0.05", **_widget("learning_rate"),
            help="Peak of the cosine schedule for SGD with momentum 0.9. Empty: 0.05, or 0.01 for regression.",
        )  # fmt: skip
        st.number_input(
            "Training examples", min_value=2, placeholder="all",
            help="Draws a stratified subset of this size.", **_widget("max_train"),
        )  # fmt: skip
    with third:
        st.number_input("Batch size", min_value=1, max_value=100_000, **_widget("batch_size"))
        st.number_input("Seed", min_value=0, max_value=2**31 - 1, **_widget("seed"))
    st.selectbox("Device", _DEVICES, help="auto uses a GPU if there is one.", **_widget("device"))
    st.markdown("**Measures**")
    st.caption("Every run computes F-SI, SI and NTK influence. These are computed where the model allows it.")
    for option, (label, _, measure) in _MEASURES.items():
        st.checkbox(label, help=_MAP_HELP if measure is None else score_help(MEASURES[measure]), **_widget(option))
    options = _options()
    with check:
        _check_button(options, job)
    return options


def _options() -> dict[str, Any]:
    own = _chosen("source") == _OWN
    return {
        "target": (_chosen("target").strip() or None) if own else None,
        "task": _chosen("task") if own else "auto",
        "encoder": (_chosen("encoder").strip() or _TFIDF) if own else _TFIDF,
        "data": _chosen("source") if _chosen("source") != _OWN else _chosen("path").strip(),
        "recipe": {name: _chosen(name) for name in _RECIPE if _chosen(name) is not None},
        **{name: _chosen(name) for name in ("model", "image_size", "max_train", "seed", "device")},
        **{name: value if _chosen(name) else "off" for name, (_, value, _) in _MEASURES.items()},
    }


def _check_button(options: dict[str, Any], addressed: Job | None) -> None:
    job = find_job(run_library.folder(), "check", options_target(options)) or addressed
    known = job is not None and job.status in ("running", "done") and _same_data(job, options)
    pressed = st.button(
        "Check data and estimate",
        icon=":material/search:",
        type="secondary" if known else "primary",
        disabled=not options["data"],
    )
    if pressed:
        _check(options)


def _same_data(check: Job, options: dict[str, Any]) -> bool:
    """Return whether a check describes the data of these options; checks of earlier versions have no task."""
    found = {"task": "auto", **check.options}
    return all(found.get(name) == options[name] for name in ("data", "target", "task"))


def _check(options: dict[str, Any]) -> None:
    job = jobs.start("check", options, options_target(options))
    if job is not None:
        st.query_params["job"] = job.id
        st.rerun()


# -- The check -------------------------------------------------------------------------------------------------------


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
                st.page_link(session.PAGES["new"], label="Watch", query_params={"job": job.id})


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
        st.switch_page(session.PAGES["overview"], query_params={"run": job.target})
    if onward and jobs.start(job.kind, job.options, job.target) is not None:
        st.rerun()


main()
