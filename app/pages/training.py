"""Training: what the scores were along the way, from the first step to long after the last."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.evaluation.comparison import rank_correlation
from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import live_scores, score_evolution, session
from samplescope_app.data.score_evolution import ScoreEvolution, steps_text
from samplescope_app.panels import curves, influencers, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_help

_TILES = 24
_EACH = 3  # most helpful and most harmful examples whose contributions are drawn
_POLL_SECONDS = 0.1
_MEASURES = ("fsi", "sensitivity", "contribution")  # that a run may have over training
_EXPLANATION = (
    "What an example tells a model depends on how long the model trains. Here is what the scores were along the way: "
    "move the time, or choose an epoch, and the pictures follow."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Training", _EXPLANATION, "fsi")
    _facts(run)
    _information(run)
    _generalisation(run)
    _sensitivity(run)
    _contribution(run)
    if any(measure not in run.evolutions and not _left_out(run, measure) for measure in _MEASURES):
        influencers.finish(run, "scores over training")


def _facts(run: Run) -> None:
    """How the model was trained, and how well it did, in one line."""
    recipe, stage = run.manifest.config.get("recipe") or {}, run.manifest.stages.get("training")
    facts = []
    if "epochs" in recipe:
        facts.append(f"{recipe['epochs']} epochs of {recipe['optimizer']}")
        facts.append(f"learning rate {recipe['learning_rate']:g}, batches of {recipe['batch_size']}")
    if stage is not None and stage.seconds is not None:
        facts.append(f"trained in {stage.seconds:.0f} s")
    facts += [f"{split} {run.quality_name} {value:.1%}" for split, value in run.quality.items()]
    if facts:
        st.markdown(plain(" · ".join(facts)))


def _information(run: Run) -> None:
    """F-SI at a time to choose: stored times answer at once, others when they are computed."""
    st.markdown("##### Information at any training time")
    if "fsi" not in run.evolutions:
        _missing(run, "fsi")
        return
    stored = score_evolution.read(run, run.version, "fsi")
    times, own = score_evolution.slider_times(stored.times), _own_time(run)
    time = st.select_slider(
        "Training time",
        times,
        value=own if own in times else times[len(times) // 2],
        format_func=lambda time: f"{steps_text(time)}{' (this run)' if time == own else ''}",
        key=f"training time {run.id}",
        help="Of the linearised model, in steps of gradient descent. The arrow keys move it.\n\n"
        + score_help(run.measure("fsi")),
        persist_state="session",
    )
    values, origin = _values_at(run, stored, time)
    st.caption(origin)
    now = run.examples["fsi"].to_numpy(dtype="float64")
    ranked, agreement = st.columns(2, gap="large")
    with ranked:
        _ranked_figure(values, now, time, own)
    with agreement:
        _agreement_figure(run, stored, values, now, time)
    _strip(run, "fsi", values, f"Most informative at {steps_text(time)}", "informative at a time")


def _own_time(run: Run) -> float | None:
    steps = run.manifest.details.get("fsi", {}).get("steps")
    return float(steps) if steps is not None else None


def _values_at(run: Run, stored: ScoreEvolution, time: float) -> tuple[np.ndarray, str]:
    """F-SI at a time, and how it was come by; the exact one is asked for where the run does not store it."""
    scores = live_scores.scores_of(run)
    scores.prepare()
    if stored.stores(time):
        return stored.at(time), f":material/check: Stored with the run for {steps_text(time)}."
    exact = scores.ask(time)
    if exact is not None:
        return exact, f":material/check: Computed from the run's linearised model for {steps_text(time)}."
    after = int(np.searchsorted(stored.times, time))
    neighbours = " and ".join(steps_text(other) for other in stored.times[after - 1 : after + 1])
    interpolated = f":material/timeline: Interpolated between {neighbours}"
    if scores.problem:
        return stored.at(time), f"{interpolated}; the exact values can't be computed: {plain(scores.problem)}"
    _wait_for(scores, time)
    return stored.at(time), f"{interpolated}; the exact values are being computed."


def _wait_for(scores: live_scores.LiveScores, time: float) -> None:
    """Draws the page again once the scores are there."""

    @st.fragment(run_every=_POLL_SECONDS)
    def poll() -> None:
        if scores.ready(time):
            st.rerun()

    poll()


def _ranked_figure(values: np.ndarray, now: np.ndarray, time: float, own: float | None) -> None:
    st.markdown("**How it is spread over the examples**")
    series = {f"at {steps_text(time)}": values}
    if time != own:
        series["at this run's time"] = now
    figure = figures.lines(
        score_evolution.ranked_points(series), "rank, the most informative first", "F-SI (nats)", True
    )
    figure.update_yaxes(type="log", rangemode="normal", dtick=1, exponentformat="power")
    chart.chart(figure, key="information by rank", alt=f"F-SI at {steps_text(time)} against rank, log-log")
    st.caption(
        "All examples in the order of their information. The steeper the line, the fewer examples carry most of it."
    )


def _agreement_figure(run: Run, stored: ScoreEvolution, values: np.ndarray, now: np.ndarray, time: float) -> None:
    agreement = rank_correlation(values, now)[0]
    st.markdown("**How alike it ranks them as at this run's time**")
    points = score_evolution.rank_agreements(stored, now, run.version)
    figure = figures.lines(points, "training time (steps)", "rank correlation", True)
    figures.mark_place(figure, time, agreement)
    chart.chart(
        figure, key="information agreement", alt=f"Rank correlation with F-SI at the run's time; {agreement:.2f} here"
    )
    st.caption(f"Rank correlation (Spearman) at {steps_text(time)}: **{agreement:.3f}**. 1: the same order.")


def _sensitivity(run: Run) -> None:
    """Which examples the model leant on, epoch by epoch."""
    st.markdown("##### Sensitivity, epoch by epoch")
    if "sensitivity" not in run.evolutions and curves.points(run, "sensitivity_groups").empty:
        _missing(run, "sensitivity")
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
        st.markdown("**Groups of examples, epoch by epoch**")
        points = score_evolution.group_means(stored, run.version, "sensitivity")
        figure = figures.lines(points, "epochs", "mean sensitivity", False)
        figure.update_yaxes(type="log", rangemode="normal", dtick=1, exponentformat="power")
        figures.mark_place(figure, epoch)
        chart.chart(figure, key="sensitivity by epoch", alt="Mean sensitivity of groups of examples over the epochs")
        st.caption(
            "The same the other way round: examples grouped by their rank at the end, and how sensitive each group was "
            "after each epoch."
        )
    values = stored.at(epoch)
    _strip(run, "sensitivity", values, f"Most sensitive after epoch {epoch:g}", "sensitive at an epoch")


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
        help="Shows the examples that the model was most sensitive to then. The arrow keys move it.",
        persist_state="session",
    )


def _generalisation(run: Run) -> None:
    """When training on no longer helped, and when wrong labels led."""
    st.markdown("##### When to stop, and who leads")
    left, right = st.columns(2, gap="large")
    with left:
        points = curves.points(run, "loo_nll")
        if points.empty:
            _missing(run, "sensitivity")
        else:
            marked = ["loo_nll", "test_nll"]
            figure = figures.lines(points, "epochs", run.curve("loo_nll").y, False)
            curves.draw(run, "loo_nll", figures.mark_lowest(figure, points, marked))
            st.markdown(_lowest_text(points))
    with right:
        if curves.points(run, "changed_among_influencers").empty:
            st.info(
                f"How many of the most influential examples have a wrong {labels.noun(run)} is known only where the "
                f"data say which {labels.noun(run)}s were changed (a column original_label) and the head of the "
                "network is linearised.",
                icon=":material/info:",
            )
        else:
            curves.draw(run, "changed_among_influencers")


def _lowest_text(points: pd.DataFrame) -> str:
    """Where the estimate and the test loss turn, in words."""
    lowest = points.loc[points.dropna(subset="y").groupby("series")["y"].idxmin()].set_index("series")["x"]
    said = f"The estimate is lowest after epoch **{lowest['loo_nll']:g}**"
    if "test_nll" in lowest:
        said += f", the test loss after epoch **{lowest['test_nll']:g}**"
    return f"{said}; stars mark both."


def _contribution(run: Run) -> None:
    """How the strongest contributions came about."""
    st.markdown("##### How contributions added up")
    if "contribution" not in run.evolutions:
        _missing(run, "contribution")
        return
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
        figure = figures.lines(points, "epochs", f"contribution so far ({unit})", False)
        chart.chart(figure, key="contribution by epoch", alt="Contributions added up over the epochs, strongest ones")
        st.caption(
            f"The {_EACH} most helpful and the {_EACH} most harmful examples: each epoch's part in their contribution, "
            "added up. A line that is steep at first and level later is an example that mattered early."
        )
    with tiles:
        answer = gallery(
            run, frame, "contribution", key="contributors", name="Strongest contributions", layout="grid", size=92
        )
        if answer.opened is not None:
            session.open_example(run, answer.opened)


def _strip(run: Run, score: str, values: np.ndarray, title: str, key: str) -> None:
    """The highest of a score as it was at a moment, as tiles."""
    percentiles = pd.Series(values).rank(pct=True).to_numpy() * 100
    shown = session.examples(run).assign(**{score: values, f"{score} percentile": percentiles})
    st.markdown(f"**{plain(title)}**")
    highest = session.ranked(shown, score).head(_TILES)
    answer = gallery(run, highest, score, key=key, name=title, layout="strip", size=100)
    if answer.opened is not None:
        session.open_example(run, answer.opened)


def _left_out(run: Run, measure: str) -> str:
    """Why scoring left a measure out; empty where it did not."""
    return run.manifest.details.get(measure, {}).get("skipped", "")


def _missing(run: Run, measure: str) -> None:
    """Says that a measure is not there over training, and why; the foot of the page says what adds it."""
    title, reason = plain(run.measure(measure).title), plain(_left_out(run, measure))
    said = f"{title} was left out: {reason}." if reason else f"{title} is not stored over training in this run."
    st.info(said, icon=":material/info:")


main()
