"""Test accuracy or R² against the share of training data kept, and a cut to move along the curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.panels import curves, jobs
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_ORDER = "bottom iterative"  # the strategy whose order summary_rank is
_DEFAULT_KEPT = 60  # percent
_LEAST_KEPT = 10  # percent; nothing below it is measured
_SEEDS, _STRATEGIES = 3, 4  # of a summary started from here
_SHARES = np.arange(0.1, 0.95, 0.1)  # removed before each training, for each strategy


@dataclass(frozen=True)
class Cut:
    """The consequences of keeping a share of the training data.

    Attributes:
        kept: Percentage kept.
        order: Rows of all training examples, in the order of removal.
        count: Number of examples removed.
        score: Measure to show on their tiles.
    """

    kept: int
    order: np.ndarray
    count: int
    score: str


def measured_curves(run: Run, summary: dict[str, Any]) -> pd.DataFrame:
    """Return the measured curves with intervals: columns series, x (percent removed), y, half_width."""
    points = curves.points(run, "summarization").assign(half_width=np.nan)
    widths = [
        pd.DataFrame({"series": name, "x": 100 * np.asarray(summary["fractions"], dtype="float64"), "width": half})
        for name, (_, half) in summary.get("retrained", {}).items()
    ]
    if not widths or points.empty:
        return points
    known = pd.concat(widths).astype({"width": "float64"})  # JSON has no NaN: with one seed they are stored as strings
    key = [points["series"].astype("str"), points["x"].round(6)]
    found = known.assign(x=known["x"].round(6)).set_index(["series", "x"])["width"]
    return points.assign(half_width=found.reindex(pd.MultiIndex.from_arrays(key)).to_numpy())


def offer_summary(run: Run) -> None:
    """Explain what a summary is and what it costs, and offer to start it."""
    st.info(
        "Not measured yet. A summary removes the least informative examples (scored once, or again after each part), "
        "the most informative ones, or random ones, a tenth at a time, and retrains on the rest.",
        icon=":material/info:",
    )
    jobs.offer(
        run.id,
        "summarize",
        {"seeds": _SEEDS},
        label="Compute",
        key="compute summary",
        cost=_cost(run),
        primary=True,
    )
    st.caption("Or in a terminal:")
    st.code(f"samplescope summarize {run.path}", language="bash")


def _cost(run: Run) -> str:
    """Return the number of trainings and their total time, in words."""
    trainings = _SEEDS * (1 + _STRATEGIES * len(_SHARES))  # the strategies share the trainings on all examples
    stage = run.manifest.stages.get("training")
    if stage is None or not stage.seconds:
        return f"{trainings} trainings, in parallel on all cores."
    # The time of a training is proportional to its number of examples.
    seconds = stage.seconds * _SEEDS * (1 + _STRATEGIES * float((1 - _SHARES).sum()))
    return (
        f"{trainings} trainings, {jobs.duration(seconds)} of work in total, in parallel on all cores. Training on all "
        f"examples took {jobs.duration(stage.seconds)}; training on fewer takes less."
    )


def removal_order(run: Run) -> tuple[np.ndarray, str] | None:
    """Return the rows in the order of removal and the measure on their tiles, or None; show which order it is."""
    examples = run.examples
    score = "fsi" if "fsi" in run.scores else None
    if "summary_rank" in examples.columns:
        return np.argsort(examples["summary_rank"].to_numpy(), kind="stable"), score or "summary_rank"
    if score is None:
        st.info("This run has no F-SI, so there is no order in which to remove examples.", icon=":material/info:")
        return None
    st.caption(
        "Without a summary, the cut removes examples by F-SI, lowest first, scored once: it may remove both of two "
        "near-duplicates."
    )
    return np.argsort(examples["fsi"].to_numpy(), kind="stable"), score


def cut_slider(run: Run, order: np.ndarray, score: str) -> Cut:
    """Draw the slider of the cut, and return the cut."""
    kept = st.slider(
        "Keep",
        _LEAST_KEPT,
        100,
        value=_DEFAULT_KEPT,
        format="%d%%",
        key=f"kept share {run.id}",
        help="The arrow keys move the cut by one percent.",
        persist_state="session",
    )
    return Cut(kept, order, round((1 - kept / 100) * len(order)), score)


def explanation(run: Run, measured: pd.DataFrame, cut: Cut, summary: dict[str, Any]) -> pd.DataFrame | None:
    """Draw the quality at the cut and how it was measured; return the linearized model's curves if they are wanted."""
    linear = curves.points(run, "summarization_linear")
    st.markdown(_left_over(run, measured, cut))
    wanted = len(linear) > 0 and st.toggle("Show linearized model", key="summarize linearised", persist_state="session")
    curve = run.curve("summarization")
    st.caption(f"{plain(curve.definition)} *{plain(curve.paper)}*")
    st.caption(_seeds_text(run, summary))
    if not wanted:
        return None
    st.caption(f"Dotted: {plain(run.curve('summarization_linear').definition)}")
    return linear


def figure(run: Run, measured: pd.DataFrame, linear: pd.DataFrame | None, cut: Cut) -> None:
    """Draw the curves with the cut."""
    quality = f"test {run.quality_name}"
    at_cut, _ = _at(measured, cut.kept)
    figure = figures.mark_place(figures.summaries(measured, linear, quality), cut.kept, at_cut)
    chart.chart(figure, key="summarization", alt=f"{quality.capitalize()} by share kept; the cut keeps {cut.kept}%")


def _seeds_text(run: Run, summary: dict[str, Any]) -> str:
    seeds = summary.get("seeds")
    if seeds is None or seeds == 1:
        return f"Each {run.quality_name} is from one training, so its variation is not known."
    balanced = f" Each removal keeps the shares of the {plain(labels.strata(run))}." if summary.get("balanced") else ""
    return f"Means over {seeds} seeds; bars are 95% intervals.{balanced}"


def _left_over(run: Run, measured: pd.DataFrame, cut: Cut) -> str:
    """Return the accuracy or R² at the cut, interpolated between measured points, as a sentence."""
    at_cut, width = _at(measured, cut.kept)
    everything, _ = _at(measured, 100)
    total = len(cut.order)
    scatter = "" if np.isnan(width) else f" ± {100 * width:.1f}"
    kept = f"Keeping **{cut.kept}%** ({total - cut.count:,} of {total:,})"
    return f"{kept}: test {run.quality_name} **{100 * at_cut:.1f}{scatter}%**, versus {everything:.1%} with all."


def _at(measured: pd.DataFrame, kept: float) -> tuple[float, float]:
    """Return accuracy or R² and half the width of its interval, interpolated between measured points."""
    line = measured[measured["series"] == _ORDER].sort_values("x")
    quality, width = (np.interp(100 - kept, line["x"], line[name]) for name in ("y", "half_width"))
    return float(quality), float(width)
