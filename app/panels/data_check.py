"""Sections of the New run page: what a check found in the data, what a run costs, and its stages so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
_LONG = 120.0  # seconds from which a measure may be too much for a first run
_MOST_OF_RUN = 0.5  # share of a run's time from which a measure dominates it


def survey(job: Job) -> None:
    """Show what is in the data, as far as a survey has come: counts, classes or values, sizes, and what is left out."""
    facts = job.found()
    if not facts:
        return
    counts = pd.DataFrame(facts["counts"], index=facts["class_names"])
    counts = counts[[split for split in ("train", "validation", "test") if split in counts]]
    sizes = counts.sum()
    noun = NOUNS[facts["kind"]]
    what = f": {plain(facts['what'])}" if facts["what"] else ""
    lines = [f"**Contents of {plain(facts['name'])}**{what}"]
    values = facts["values"]  # the name of the target column
    target = f"in {len(counts):,} classes" if values is None else f"with values of {plain(values)}"
    splits = " · ".join(f"{size:,} {plain(split)}" for split, size in sizes.items())
    lines += [f"{sizes.sum():,} {noun}s {target}: {splits}", _about_images(facts)]
    st.markdown("  \n".join(filter(None, lines)))
    if facts["notes"]:
        st.info("  \n".join(plain(note) for note in facts["notes"]), icon=":material/info:")
    _unreadable(facts, noun)
    train = counts["train"] if "train" in counts else counts.iloc[:, 0]
    points = pd.DataFrame({"series": f"training {noun}s", "x": range(len(counts)), "y": train.to_numpy()})
    figure = figures.bars_by_class(points, facts["class_names"], f"training {noun}s", in_order=values is not None)
    figure.update_layout(showlegend=False)
    if values is not None:
        st.markdown(f"Training {noun}s by range of {plain(values)}")
    strata = "classes" if values is None else f"ranges of {values}"
    chart.chart(figure, key="classes found", alt=f"Number of training {noun}s in each of {len(counts)} {strata}")


def _about_images(facts: Mapping[str, Any]) -> str:
    """Return sizes, colors and repetitions of the images that were looked at, in a sentence each."""
    if facts["heights"] is None:
        return ""
    (low, high), (narrow, wide) = facts["heights"], facts["widths"]
    size = f"{narrow} x {low}" + ("" if (low, narrow) == (high, wide) else f" to {wide} x {high}")
    good = facts["looked"] - (facts["num_unreadable"] if facts["looked"] == facts["total"] else 0)
    colors = "color" if facts["colored"] else "grayscale"
    if 0 < facts["colored"] < good:
        colors = f"{facts['colored'] / good:.0%} in color"
    said = [f"{size} pixels, {colors}."]
    if facts["repeated"]:
        where = [f"{facts['across']:,} across splits"] if facts["across"] else []
        where += [f"{facts['disputed']:,} with another label"] if facts["disputed"] else []
        some = f", {' and '.join(where)}" if where else ""
        said.append(f":material/content_copy: {facts['repeated']:,} files equal another one{some}.")
    return " ".join(said)


def _unreadable(facts: Mapping[str, Any], noun: str) -> None:
    count = facts["num_unreadable"]
    if not count:
        return
    what = "file" if noun == "image" else noun
    with st.expander(f"{count:,} {what if count == 1 else f'{what}s'} left out", expanded=True):
        st.dataframe(pd.DataFrame(facts["unreadable"]), hide_index=True)
        if count > len(facts["unreadable"]):
            st.caption(f"The first {len(facts['unreadable']):,}.")


def costs(job: Job) -> dict[str, Costs]:
    """Return what each measure that can be turned off costs, by the name of its setting.

    Args:
        job: A finished check.
    """
    seconds = (job.result.get("estimate") or {}).get("seconds", {})
    total = sum(seconds.values())
    found: dict[str, float] = {}
    for stage, option in job.result.get("options", {}).items():  # missing from checks of earlier versions
        found[option] = found.get(option, 0.0) + seconds.get(stage, 0.0)
    return {option: Costs(each, each / total) for option, each in found.items() if each}


@dataclass(frozen=True)
class Costs:
    """What a measure costs.

    Attributes:
        seconds: Time that it takes.
        share: Its share of the time of the whole run.
    """

    seconds: float
    share: float

    @property
    def dominates(self) -> bool:
        """Whether the run is long because of this measure, so that it is off unless the user wants it."""
        return self.seconds >= _LONG and self.share >= _MOST_OF_RUN

    def __str__(self) -> str:
        return f"about {jobs.duration(self.seconds)}, {self.share:.0%} of the run"


def is_about(check: Job, options: Mapping[str, Any]) -> bool:
    """Return whether the estimate of a check covers these options: the same ones, or with fewer measures."""
    measures = set(check.result.get("options", {}).values())
    found, wanted = (
        {name: value for name, value in each.items() if name not in measures} for each in (check.options, options)
    )
    same = all(options.get(name) in ("off", check.options.get(name)) for name in measures)
    return found == wanted and same


def estimate(job: Job, options: Mapping[str, Any]) -> bool:
    """Show the time and memory a run takes, by stage.

    Args:
        job: A finished check.
        options: The chosen options. With fewer measures than those of the check, these measures' time is left out.

    Returns:
        Whether to offer a new estimate, since this one is for other options.
    """
    stale = not is_about(job, options)
    if job.result.get("problem"):
        if not stale:
            st.error(plain(job.result["problem"]), icon=":material/error:")
        return stale
    taken = job.result["estimate"]
    off = {name for name, option in job.result.get("options", {}).items() if options.get(option) == "off"}
    seconds = {name: value for name, value in taken["seconds"].items() if stale or name not in off}
    total, memory = st.columns(2)
    before = ":gray-badge[other options] " if stale else ""
    total.metric(f"{before}Time", f"about {jobs.duration(sum(seconds.values()))}")
    free = taken["free"]
    peak = f"{before}Peak memory" + (f", of {free / _GIB:.1f} GiB free" if free else "")
    memory.metric(peak, f"{taken['memory'] / _GIB:.1f} GiB")
    refusal = taken.get("refusal")  # missing from estimates of earlier versions
    if refusal and not stale:
        st.warning(plain(refusal), icon=":material/warning:")
    opened = (job.result.get("found") or {}).get("opened")  # missing from checks of earlier versions
    if opened and not stale:
        st.caption(plain(opened))
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
