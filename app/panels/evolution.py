"""Scores over training, of one example and of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import navigation, score_evolution, session
from samplescope_app.data.score_evolution import ScoreEvolution
from samplescope_app.panels import averaging, curves
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain, score_help

_TILES = 24
_EACH = 3  # most helpful, and as many most harmful, examples whose contributions are drawn
_IN_STEPS = ("fsi", "si")  # measures over steps of the linearized model; the others are over epochs


def sensitivity(run: Run) -> None:
    """Draw the sensitivity of examples, epoch by epoch."""
    st.markdown("##### Sensitivity by epoch")
    if "sensitivity" not in run.evolutions and curves.points(run, "sensitivity_groups").empty:
        explain_missing(run, "sensitivity")
        return
    left, right = st.columns(2, gap="large")
    if not curves.points(run, "sensitivity_groups").empty:
        with left:
            curves.draw(run, "sensitivity_groups")
    if "sensitivity" not in run.evolutions:
        return
    stored = score_evolution.read(run, run.version, "sensitivity")
    epoch = _epoch(run, stored)
    with right:
        st.markdown("**Sensitivity of groups by epoch**")
        points = score_evolution.group_means(stored, run.version, "sensitivity")
        figure = figures.lines(points, "epochs", "mean sensitivity", False)
        figure.update_yaxes(type="log", rangemode="normal", dtick=1, exponentformat="power")
        figures.mark_place(figure, epoch)
        chart.chart(figure, key="sensitivity by epoch", alt="Mean sensitivity of groups of examples over the epochs")
        st.caption(
            "Mean sensitivity after each epoch. The examples are grouped by their rank in sensitivity after the last "
            "epoch."
        )
    values = stored.at(epoch)
    strip(run, "sensitivity", values, f"Most sensitive after epoch {epoch:g}", "sensitive at an epoch")


def _epoch(run: Run, stored: ScoreEvolution) -> float:
    epochs = [float(time) for time in stored.times]
    if len(epochs) == 1:
        return epochs[0]
    return st.select_slider(
        "After epoch",
        epochs,
        value=epochs[-1],
        format_func=lambda epoch: f"{epoch:g}",
        key=f"training epoch {run.id}",
        help="Shows the examples with the highest sensitivity after this epoch. The arrow keys move the slider.",
        persist_state="session",
    )


def when_to_stop(run: Run) -> None:
    """Draw the estimated and the actual test loss, and the share of wrong labels among the top influencers."""
    st.markdown("##### Generalization and wrong labels")
    left, right = st.columns(2, gap="large")
    with left:
        points = curves.points(run, "loo_nll")
        if points.empty:
            explain_missing(run, "sensitivity")
        else:
            curve = run.curve("loo_nll")
            estimate, test = (curve.series_titles[name] for name in ("loo_nll", "test_nll"))
            figure = figures.lines(points, "epochs", curve.y, False)
            curves.draw(run, "loo_nll", figures.mark_lowest(figure, points, [estimate, test]))
            st.markdown(_lowest_text(points, estimate, test))
            st.caption(_delta_text(run.manifest.details.get("sensitivity", {})))
    with right:
        if curves.points(run, "changed_among_influencers").empty:
            st.info(
                f"The share of wrong {labels.noun(run)}s among the most influential examples is known only if the data "
                f"record the changed {labels.noun(run)}s (a column original_label).",
                icon=":material/info:",
            )
        else:
            curves.draw(run, "changed_among_influencers")


def _lowest_text(points: pd.DataFrame, estimate: str, test: str) -> str:
    """Return when the estimate and the test loss are lowest, as a sentence."""
    lowest = points.loc[points.dropna(subset="y").groupby("series")["y"].idxmin()].set_index("series")["x"]
    sentence = f"The {estimate} is lowest after epoch **{lowest[estimate]:g}**"
    if test in lowest:
        sentence += f", the {test} after epoch **{lowest[test]:g}**"
    return f"{sentence}; stars mark the lowest points."


def _delta_text(facts: Mapping[str, Any]) -> str:
    """Return the strength of regularization that the estimate counts with, and where it comes from."""
    delta, own = facts.get("delta"), facts.get("delta_of_objective")
    if delta is None or own is None:
        return ""
    if delta == own:
        return f"Regularization (delta): {delta:.3g}."
    parts = f"{own:.3g} from the weight decay and {delta - own:.3g} from the training time"
    return f"Regularization (delta): {delta:.3g}, which is {parts}: early stopping acts like weight decay."


def contribution(run: Run) -> None:
    """Draw the largest contributions, accumulated over training, and offer their mean over several trainings."""
    st.markdown("##### Contribution by epoch")
    if "contribution" not in run.evolutions:
        explain_missing(run, "contribution")
        return
    _contributions_by_epoch(run)
    averaging.draw(run)


def _contributions_by_epoch(run: Run) -> None:
    stored = score_evolution.read(run, run.version, "contribution")
    rows = score_evolution.strongest(stored, _EACH)
    frame = session.examples(run).iloc[rows]
    figure_column, tiles = st.columns([4, 3], gap="large")
    with figure_column:
        names = [f"#{row['row']} {labels.on_tile(run, row)[0]}" for row in frame.to_dict("records")]
        totals = np.cumsum(stored.values[:, rows].astype("float64"), axis=0)
        points = pd.DataFrame(
            {
                "series": np.repeat(names, len(stored.times)),
                "x": np.tile(stored.times, len(rows)),
                "y": totals.T.ravel(),
            }
        )
        unit = run.measure("contribution").unit
        figure = figures.lines(points, "epochs", f"cumulative contribution ({unit})", False)
        chart.chart(figure, key="contribution by epoch", alt="Largest contributions, accumulated over the epochs")
        st.caption(
            f"Contribution of the {_EACH} most helpful and the {_EACH} most harmful examples, accumulated over the "
            "epochs. A line that is steep at first and level later is an example that mattered early."
        )
    with tiles:
        answer = gallery(
            run, frame, "contribution", key="contributors", name="Largest contributions", layout="grid", size=92
        )
        if answer.opened is not None:
            navigation.open_tile(run, answer.opened)


def of_example(run: Run, row: Row) -> None:
    """Draw a small chart of each measure of a training example over training; nothing if the run has none."""
    if not run.evolutions:
        return
    names = ", ".join(run.measure(measure).title_in_sentence for measure in run.evolutions)
    folded = st.expander(f"Over training: {plain(names)}", key="over training folded", on_change="rerun")
    if not folded.open:  # the charts take the browser longer than the influencers; once opened, they stay open
        return
    columns = folded.columns(max(3, len(run.evolutions)), gap="medium")
    for column, measure in zip(columns, run.evolutions, strict=False):
        title = run.measure(measure).title
        try:
            stored = score_evolution.read(run, run.version, measure)
        except InputError as error:
            column.caption(plain(error))
            continue
        in_steps = measure in _IN_STEPS
        figure = figures.history(
            stored.times,
            stored.values[:, row["row"]],
            _quantiles(stored, run.version, measure),
            x_title="training time (steps)" if in_steps else "epochs",
            y_title=run.measure(measure).unit,
            log_x=in_steps,
        )
        with column:
            st.markdown(plain(title), help=score_help(run.measure(measure)))
            alt = f"{title} of #{row['row']} over training, with the median and the 90% band of all training examples"
            chart.chart(figure, key=f"over training {measure}", alt=alt)


@st.cache_resource(max_entries=16, show_spinner=False)
def _quantiles(_stored: score_evolution.ScoreEvolution, version: str, measure: str) -> np.ndarray:  # noqa: ARG001 (a cache key)
    """Return the 5%, 50% and 95% quantiles over all examples, ``[3, times]``."""
    return np.nanquantile(_stored.values, (0.05, 0.5, 0.95), axis=1)


def strip(run: Run, score: str, values: np.ndarray, title: str, key: str) -> None:
    """Draw the examples with the highest values of a score at one time of training."""
    percentiles = pd.Series(values).rank(pct=True).to_numpy() * 100
    shown = session.examples(run).assign(**{score: values, f"{score} percentile": percentiles})
    st.markdown(f"**{plain(title)}**")
    highest = session.ranked(shown, score, most=_TILES)
    answer = gallery(run, highest, score, key=key, name=title, layout="strip", size=100)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


def why_skipped(run: Run, measure: str) -> str:
    """Return why scoring skipped a measure; empty if it did not."""
    return run.manifest.details.get(measure, {}).get("skipped", "")


def explain_missing(run: Run, measure: str) -> None:
    """Show that a measure is missing over training, and why; the end of the page offers to compute it."""
    title, reason = plain(run.measure(measure).title), plain(why_skipped(run, measure))
    message = f"{title} skipped: {reason}." if reason else f"This run does not store {title} over training."
    st.info(message, icon=":material/info:")
