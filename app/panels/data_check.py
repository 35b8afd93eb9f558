"""Sections of the New run page: what a check found in the data, what a run costs, and its stages so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, find_job, options_target
from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import run_library
from samplescope_app.panels import jobs
from samplescope_app.wording.text import NOUNS, plain

_SIGNS = {"done": ":material/check:", "running": ":material/progress_activity:", "failed": ":material/error:"}
_GIB = 2**30


def found(job: Job) -> None:
    """Show what is in the data: sizes, classes or values, notes and unreadable files."""
    facts = job.result["found"]
    counts = pd.DataFrame(facts["counts"], index=facts["class_names"])
    sizes = counts.sum()
    st.markdown(f"**Contents of {plain(facts['name'])}**")
    noun = NOUNS[facts.get("kind", "image")]
    if noun == "image":
        about = f"{_sides(facts)}, {'color' if facts['colour'] else 'grayscale'}"
    else:
        about = f"as vectors of {facts['input_shape'][0]:,} numbers"
    values = facts.get("values")  # the name of the target column; missing from checks of earlier versions
    target = f"in {len(counts)} classes" if values is None else f"with values of {plain(values)}"
    st.markdown(
        f"{sizes.sum():,} {noun}s {target}, {about}: "
        + " · ".join(f"{size:,} {plain(split)}" for split, size in sizes.items())
    )
    if facts.get("opened"):  # missing from checks of earlier versions
        st.markdown(plain(facts["opened"]))
    if facts["notes"]:
        st.info("  \n".join(plain(note) for note in facts["notes"]), icon=":material/info:")
    _unreadable(facts, noun)
    points = pd.DataFrame({"series": f"training {noun}s", "x": range(len(counts)), "y": counts["train"].to_numpy()})
    figure = figures.bars_by_class(points, facts["class_names"], f"training {noun}s", in_order=values is not None)
    figure.update_layout(showlegend=False)
    if values is not None:
        st.markdown(f"Training {noun}s by range of {plain(values)}")
    strata = "classes" if values is None else f"ranges of {values}"
    chart.chart(figure, key="classes found", alt=f"Number of training {noun}s in each of {len(counts)} {strata}")


def _sides(facts: dict[str, Any]) -> str:
    (low, high), (narrow, wide) = facts["heights"], facts["widths"]
    _, height, width = facts["input_shape"]
    if low == high and narrow == wide and (low, narrow) == (height, width):
        return f"{low} x {narrow} pixels"
    return f"{low} x {narrow} to {high} x {wide} pixels, resized to {height} x {width}"


def _unreadable(facts: dict[str, Any], noun: str) -> None:
    count = facts["num_unreadable"]
    if not count:
        return
    what = "file" if noun == "image" else noun
    with st.expander(f"{count:,} {what if count == 1 else f'{what}s'} left out", expanded=True):
        st.dataframe(pd.DataFrame(facts["unreadable"]), hide_index=True)
        if count > len(facts["unreadable"]):
            st.caption(f"The first {len(facts['unreadable']):,}.")


def estimate(job: Job, stale: bool) -> bool:
    """Show the time and memory a run takes, by stage, and return ``stale``: whether to offer a new estimate.

    Args:
        job: A finished check.
        stale: Whether the estimate is for options other than the chosen ones.
    """
    st.markdown("**Estimated cost**")
    if job.result.get("problem"):
        st.error(plain(job.result["problem"]), icon=":material/error:")
        return stale
    taken = job.result["estimate"]
    seconds = taken["seconds"]
    total, memory = st.columns(2)
    before = ":gray-badge[other options] " if stale else ""
    total.metric(f"{before}Time", f"about {jobs.duration(sum(seconds.values()))}")
    free = taken["free"]
    peak = f"{before}Peak memory" + (f", of {free / _GIB:.1f} GiB free" if free else "")
    memory.metric(peak, f"{taken['memory'] / _GIB:.1f} GiB")
    refusal = taken.get("refusal")  # missing from estimates of earlier versions
    if refusal and not stale:
        st.warning(plain(refusal), icon=":material/warning:")
    titles = job.result.get("stages", {})  # missing from checks of earlier versions
    rows = [(_heading(titles, name), jobs.duration(value)) for name, value in seconds.items()]
    table = pd.DataFrame(rows, columns=["Stage", "Time"])
    st.dataframe(table.style.set_properties(color="gray") if stale else table, hide_index=True)
    for name, reason in taken["skipped"].items():
        st.caption(f"{plain(_heading(titles, name))} skipped: {plain(reason)}")
    if stale:
        st.caption(":material/history: These numbers are for other options than the current ones.")
    else:
        st.caption(
            "Measured on a few examples on this machine under its current load. On three datasets the total was "
            "within 10%, and stages of a few seconds within a factor of 1.4. A busier machine takes longer."
        )
    return stale


def stages(job: Job) -> None:
    """Show the stages of a run with their status, and their actual and estimated times."""
    check = find_job(run_library.folder(), "check", options_target(job.options))
    expected = (check.result.get("estimate") or {}).get("seconds", {}) if check is not None else {}
    try:
        done = Run.open(run_library.folder() / job.target).manifest.stages
    except InputError:  # there is no manifest yet
        done = {}
    titles = job.progress.stages
    names = list(dict.fromkeys([*(name for name in titles if name in expected or name in done), *done]))
    if not names:
        return
    lines = ["| | Stage | Time | Estimated |", "|---|---|---|---|"]
    for name in names:
        stage = done.get(name)
        sign = _SIGNS.get(stage.status, "") if stage is not None else ""
        if stage is not None and stage.status == "running" and job.status != "running":
            sign = ":material/pause:"
        took = jobs.duration(stage.seconds) if stage is not None and stage.seconds is not None else ""
        guess = jobs.duration(expected[name]) if name in expected else ""
        lines.append(f"| {sign} | {plain(_heading(titles, name))} | {took} | {guess} |")
    st.markdown("\n".join(lines))


def _heading(titles: Mapping[str, str], name: str) -> str:
    """Return the title of a stage as it begins a line; its name if the job does not know the title."""
    title = titles.get(name, name)
    return title[:1].upper() + title[1:]
