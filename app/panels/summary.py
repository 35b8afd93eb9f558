"""How much of the training data can go: measured curves, and a cut to move along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.panels import curves, jobs
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_ORDER = "bottom iterative"  # the strategy that summary_rank is the order of
_DEFAULT_KEPT = 60  # percent
_LEAST_KEPT = 10  # percent: no less is measured
_SEEDS, _STRATEGIES = 3, 4  # of a summary as it is computed from here
_SHARES = np.arange(0.1, 0.95, 0.1)  # removed and trained without, for each strategy


@dataclass(frozen=True)
class Cut:
    """What a share to keep comes to.

    Attributes:
        kept: Percentage kept.
        order: Rows of all training examples, the first to go first.
        count: How many go.
        score: The measure on their tiles.
    """

    kept: int
    order: np.ndarray
    count: int
    score: str


def measured_curves(run: Run, summary: dict[str, object]) -> pd.DataFrame:
    """The measured curves with their intervals: columns series, x (removed, in percent), y, half_width."""
    points = curves.points(run, "summarization").assign(half_width=np.nan)
    widths = [
        pd.DataFrame({"series": name, "x": 100 * np.asarray(summary["fractions"], dtype="float64"), "width": half})
        for name, (_, half) in summary.get("retrained", {}).items()
    ]
    if not widths or points.empty:
        return points
    known = pd.concat(widths).astype({"width": "float64"})  # JSON has no NaN: those of one seed travel as strings
    key = [points["series"].astype("str"), points["x"].round(6)]
    found = known.assign(x=known["x"].round(6)).set_index(["series", "x"])["width"]
    return points.assign(half_width=found.reindex(pd.MultiIndex.from_arrays(key)).to_numpy())


def offer_summary(run: Run) -> None:
    """What a summary is, what it takes, and the ways to start it."""
    st.info(
        "Not measured yet. A summary removes the least informative examples (once, and part after part with what is "
        "left scored again), the most informative and random ones, a tenth at a time, and trains on what is left.",
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
    """How many trainings, and how long they take one after the other."""
    trainings = _SEEDS * (1 + _STRATEGIES * len(_SHARES))  # those on everything are shared
    stage = run.manifest.stages.get("training")
    if stage is None or not stage.seconds:
        return f"{trainings} trainings, side by side on all cores."
    # A training takes as long as it has examples.
    seconds = stage.seconds * _SEEDS * (1 + _STRATEGIES * float((1 - _SHARES).sum()))
    return (
        f"{trainings} trainings, {jobs.duration(seconds)} of work in all, side by side on all cores: the one on "
        f"everything took {jobs.duration(stage.seconds)}, and the less is left, the less it takes."
    )


def removal_order(run: Run) -> tuple[np.ndarray, str] | None:
    """The rows in the order in which they would go, and the measure on their tiles; says which order it is."""
    examples = run.examples
    score = "fsi" if "fsi" in run.scores else None
    if "summary_rank" in examples.columns:
        return np.argsort(examples["summary_rank"].to_numpy(), kind="stable"), score or "summary_rank"
    if score is None:
        st.info(
            "Without functional sample information there is no order to remove examples in.", icon=":material/info:"
        )
        return None
    st.caption(
        "Until then the cut goes by functional sample information, lowest first, scored once: of two examples that say "
        "the same it may take both."
    )
    return np.argsort(examples["fsi"].to_numpy(), kind="stable"), score


def cut_slider(run: Run, order: np.ndarray, score: str) -> Cut:
    kept = st.slider(
        "Keep",
        _LEAST_KEPT,
        100,
        value=_DEFAULT_KEPT,
        format="%d%%",
        key=f"kept share {run.id}",
        help="The arrow keys move the cut by one per cent.",
        persist_state="session",
    )
    return Cut(kept, order, round((1 - kept / 100) * len(order)), score)


def explanation(run: Run, measured: pd.DataFrame, cut: Cut, summary: dict[str, object]) -> pd.DataFrame | None:
    """What the figure says at the cut, and how it was measured; the linearised model's points where they are wanted."""
    linear = curves.points(run, "summarization_linear")
    st.markdown(_left_over(run, measured, cut))
    wanted = len(linear) > 0 and st.toggle("Linearised model too", key="summarize linearised", persist_state="session")
    curve = run.curve("summarization")
    st.caption(f"{plain(curve.definition)} *{plain(curve.paper)}*")
    st.caption(_seeds_text(run, summary))
    if not wanted:
        return None
    st.caption(f"Dotted: {plain(run.curve('summarization_linear').definition)}")
    return linear


def figure(run: Run, measured: pd.DataFrame, linear: pd.DataFrame | None, cut: Cut) -> None:
    quality = f"test {run.quality_name}"
    at_cut, _ = _at(measured, cut.kept)
    figure = figures.mark_place(figures.summaries(measured, linear, quality), cut.kept, at_cut)
    chart.chart(figure, key="summarization", alt=f"{quality.capitalize()} by share kept; the cut keeps {cut.kept}%")


def _seeds_text(run: Run, summary: dict[str, object]) -> str:
    seeds = summary.get("seeds")
    if seeds is None or seeds == 1:
        return f"Each {run.quality_name} is that of one training: how far it scatters is not known."
    balanced = f" The {plain(labels.strata(run))} keep their shares." if summary.get("balanced") else ""
    return f"Means over {seeds} trainings from other initial weights; bars are 95% intervals.{balanced}"


def _left_over(run: Run, measured: pd.DataFrame, cut: Cut) -> str:
    """The accuracy or R² at the cut in words, from the measured points on either side of it."""
    at_cut, width = _at(measured, cut.kept)
    everything, _ = _at(measured, 100)
    total = len(cut.order)
    scatter = "" if np.isnan(width) else f" ± {100 * width:.1f}"
    kept = f"Keeping **{cut.kept}%** ({total - cut.count:,} of {total:,})"
    return f"{kept}: test {run.quality_name} **{100 * at_cut:.1f}{scatter}%**, of {everything:.1%} with all."


def _at(measured: pd.DataFrame, kept: float) -> tuple[float, float]:
    """Accuracy or R², and half the width of its interval, on the line between the measured points."""
    line = measured[measured["series"] == _ORDER].sort_values("x")
    quality, width = (np.interp(100 - kept, line["x"], line[name]) for name in ("y", "half_width"))
    return float(quality), float(width)
