"""F-SI at any training time."""

from __future__ import annotations

import numpy as np
import streamlit as st

from attribution_core.evaluation.comparison import rank_correlation
from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import live_scores, score_evolution
from samplescope_app.data.score_evolution import ScoreEvolution, steps_text
from samplescope_app.panels import evolution, training_time
from samplescope_app.wording.text import plain

_POLL_SECONDS = 0.1


def draw(run: Run) -> None:
    """Draw F-SI at a chosen training time: stored times at once, others as soon as they are computed."""
    st.markdown("##### F-SI at any training time")
    if "fsi" not in run.evolutions:
        evolution.explain_missing(run, "fsi")
        return
    stored = score_evolution.read(run, run.version, "fsi")
    own = training_time.own_time(run)
    time = training_time.select(run, f"training time {run.id}", own)
    values, origin = _values_at(run, stored, time)
    st.caption(origin)
    now = run.examples["fsi"].to_numpy(dtype="float64")
    ranked, agreement = st.columns(2, gap="large")
    with ranked:
        _ranked_figure(values, now, time, own)
    with agreement:
        _agreement_figure(run, stored, values, now, time)
    evolution.strip(run, "fsi", values, f"Most informative at {steps_text(time)}", "informative at a time")


def _values_at(run: Run, stored: ScoreEvolution, time: float) -> tuple[np.ndarray, str]:
    """Return F-SI at a time and its origin; request the exact values if the run does not store them."""
    scores = live_scores.scores_of(run)
    scores.prepare()
    if stored.stores(time):
        return stored.at(time), f":material/check: Stored in the run, at {steps_text(time)}."
    exact = scores.ask(time)
    if exact is not None:
        return exact, f":material/check: Computed from the run's linearized model, at {steps_text(time)}."
    after = int(np.searchsorted(stored.times, time))
    neighbors = " and ".join(steps_text(other) for other in stored.times[after - 1 : after + 1])
    interpolated = f":material/timeline: Interpolated between {neighbors}"
    if scores.problem:
        return stored.at(time), f"{interpolated}; the exact values cannot be computed: {plain(scores.problem)}"
    _wait_for(scores, time)
    return stored.at(time), f"{interpolated}; the exact values are being computed."


def _wait_for(scores: live_scores.LiveScores, time: float) -> None:
    """Rerun the page once the scores are ready."""

    @st.fragment(run_every=_POLL_SECONDS)
    def poll() -> None:
        if scores.ready(time):
            st.rerun()

    poll()


def _ranked_figure(values: np.ndarray, now: np.ndarray, time: float, own: float | None) -> None:
    st.markdown("**Distribution over the examples**")
    series = {f"at {steps_text(time)}": values}
    if time != own:
        series["at this run's time"] = now
    figure = figures.lines(score_evolution.ranked_points(series), "rank, most informative first", "F-SI (nats)", True)
    figure.update_yaxes(type="log", rangemode="normal", dtick=1, exponentformat="power")
    chart.chart(figure, key="information by rank", alt=f"F-SI at {steps_text(time)} against rank, log-log")
    st.caption("All examples, ranked by F-SI. The steeper the line, the fewer examples hold most of the information.")


def _agreement_figure(run: Run, stored: ScoreEvolution, values: np.ndarray, now: np.ndarray, time: float) -> None:
    agreement = rank_correlation(values, now)[0]
    st.markdown("**Agreement with this run's training time**")
    points = score_evolution.rank_agreements(stored, now, run.version)
    figure = figures.lines(points, "training time (steps)", "rank correlation", True)
    figures.mark_place(figure, time, agreement)
    chart.chart(
        figure,
        key="information agreement",
        alt=f"Rank correlation with F-SI at the run's time; {agreement:.2f} at the chosen time",
    )
    st.caption(f"Spearman's rank correlation at {steps_text(time)}: **{agreement:.3f}**. 1 is the same order.")
