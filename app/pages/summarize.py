"""Summarize: how much of the data can go, a cut to move, and what would go there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import review_queue, session
from samplescope_app.panels import curves, jobs, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_ORDER = "bottom iterative"  # the strategy that summary_rank is the order of
_TILES = 30
_DEFAULT_KEPT = 60  # percent
_LEAST_KEPT = 10  # percent: no less is measured
_SEEDS, _STRATEGIES = 3, 4  # of a summary as it is computed from here
_SHARES = np.arange(0.1, 0.95, 0.1)  # removed and trained without, for each strategy
_EXPLANATION = (
    "How much of the training data can go before the model gets worse. The curves are measured by really training on "
    "what is left; the cut says what would go if you kept only so much, least informative first."
)


@dataclass(frozen=True)
class _Cut:
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


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Summarize", _EXPLANATION, "summary_rank" if "summary_rank" in run.examples.columns else "fsi")
    summary = run.manifest.details.get("summarization", {})
    measured = _measured(run, summary)
    if measured.empty:
        _without_a_summary(run)
    order = _order(run)
    if order is None:
        return
    plot, options = st.columns([5, 2], gap="large")
    with plot:
        cut = _cut(run, *order)
    if not measured.empty:
        with options:
            linear = _explanation(run, measured, cut, summary)
        with plot:
            _figure(run, measured, linear, cut)
    _what_goes(run, cut)


def _measured(run: Run, summary: dict[str, object]) -> pd.DataFrame:
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


def _without_a_summary(run: Run) -> None:
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


def _order(run: Run) -> tuple[np.ndarray, str] | None:
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


def _cut(run: Run, order: np.ndarray, score: str) -> _Cut:
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
    return _Cut(kept, order, round((1 - kept / 100) * len(order)), score)


def _explanation(run: Run, measured: pd.DataFrame, cut: _Cut, summary: dict[str, object]) -> pd.DataFrame | None:
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


def _figure(run: Run, measured: pd.DataFrame, linear: pd.DataFrame | None, cut: _Cut) -> None:
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


def _left_over(run: Run, measured: pd.DataFrame, cut: _Cut) -> str:
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


def _what_goes(run: Run, cut: _Cut) -> None:
    """The examples on either side of the cut, their classes, and what to do with them."""
    going = cut.order[: cut.count]
    if not cut.count:
        st.info("Nothing goes: move the cut to keep less than everything.", icon=":material/info:")
        return
    frame = session.examples(run)
    table, pictures = st.columns([2, 5], gap="large")
    with table:
        st.markdown(f"**{cut.count:,} would go**")
        st.dataframe(
            _by_stratum(run, frame, going),
            hide_index=True,
            height=min(420, 38 + 36 * len(run.strata_names)),
            column_config={"Share": st.column_config.NumberColumn(format="percent")},
            alt=f"How many examples of each {'class' if run.values is None else 'range of values'} would go",
        )
        _actions(run, frame, cut, going)
    with pictures:
        _strip(run, frame, "First to go", cut.order[: min(_TILES, cut.count)], cut.score)
        _strip(run, frame, "Last to go, just before the cut", going[::-1][:_TILES], cut.score)
        _strip(run, frame, "First to stay, just behind it", cut.order[cut.count :][:_TILES], cut.score)


def _by_stratum(run: Run, frame: pd.DataFrame, going: np.ndarray) -> pd.DataFrame:
    """How many of each class, or of each range of values, would go."""
    strata, title = run.strata(frame), "Class" if run.values is None else f"Range of {run.values.name}"
    all_of, gone = (np.bincount(members, minlength=len(run.strata_names)) for members in (strata, strata[going]))
    table = pd.DataFrame(
        {title: run.strata_names, "Go": gone, "Of": all_of, "Share": (gone / np.maximum(all_of, 1)).round(3)},
    )
    return table.sort_values("Share", ascending=False, kind="stable")


def _actions(run: Run, frame: pd.DataFrame, cut: _Cut, going: np.ndarray) -> None:
    rows = frame.iloc[going]
    undecided = rows.loc[rows["action"] == "", "id"].tolist()
    with st.container(horizontal=True):
        if st.button("Review these", icon=":material/rule:", help="One by one, those nearest to the cut first"):
            review_queue.hand_over(run, "Summarize", cut.score, going[::-1].tolist())
        if st.button(f"Drop these {len(undecided):,}", icon=":material/close:", disabled=not undecided):
            _confirm_drop(run, undecided, len(rows))
        st.button("Undo", icon=":material/undo:", type="tertiary", on_click=session.undo, args=(run,))
    if len(undecided) < len(rows):
        decided = len(rows) - len(undecided)
        st.caption(f"{decided:,} of them {'is' if decided == 1 else 'are'} decided already, and left as decided.")


@st.dialog("Drop these examples?")
def _confirm_drop(run: Run, ids: list[str], going: int) -> None:
    kept = f" What was decided before about {going - len(ids):,} others stays." if going > len(ids) else ""
    st.markdown(
        f"**{len(ids):,} training examples** are marked as dropped in one step, which Undo takes back.{kept} The "
        "dataset itself is not changed: decisions are applied on export."
    )
    if st.button(f"Drop {len(ids):,}", type="primary", icon=":material/close:"):
        session.decide(run, ids, "drop")
        st.rerun()


def _strip(run: Run, frame: pd.DataFrame, title: str, rows: np.ndarray, score: str) -> None:
    if not len(rows):
        return
    st.markdown(f"**{title}**")
    answer = gallery(run, frame.iloc[rows], score, key=f"summary {title}", name=title, layout="strip", size=84)
    if answer.opened is not None:
        session.open_example(run, answer.opened)


main()
