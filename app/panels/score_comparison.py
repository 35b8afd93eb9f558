"""Scores of two runs, example by example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.components.table import height_of
from samplescope_app.data import comparison, navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_title

_TILES = 24
_COLORS = ("Prediction", "Label")


def draw(run: Run, before: Run, after: Run) -> None:
    """Draw a scatter plot of one score, the agreement of every score, and the examples whose rank changed most."""
    agreements = comparison.agreements(before, after)
    chosen, color = st.columns([2, 5], vertical_alignment="bottom", gap="large")
    with chosen:
        score = st.selectbox(
            "Score",
            list(agreements),
            format_func=lambda name: run.measure(name).title,
            key="compare score",
            persist_state="session",
        )
    with color:
        by = st.segmented_control(
            "Color by",
            _COLORS,
            format_func=lambda name: labels.noun(run).capitalize() if name == "Label" else name,
            default=_COLORS[0],
            required=True,
            key="compare color",
            persist_state="session",
        )
    left, right = st.columns([6, 5], gap="large")
    with left:
        _scatter(run, before, after, score, by)
    with right:
        _agreement(run, agreements)
    _movers(run, before, after, score)


def _scatter(run: Run, before: Run, after: Run, score: str, by: str) -> None:
    both = comparison.shared(before, after)
    x, y = (
        each.examples[score].to_numpy(dtype="float64")[rows]
        for each, rows in ((before, both.before), (after, both.after))
    )
    if by == "Label":
        kinds = _by_label(both, labels.noun(run))
    else:
        kinds = (_by_prediction if run.values is None else _by_distance)(before, after, both)
    drawable = np.isfinite(x) & np.isfinite(y)
    members = {name: np.flatnonzero(of & drawable) for name, of in kinds.items()}
    members = {name: at for name, at in members.items() if len(at)}
    if not members:
        st.info("This score has no values to draw.")
        return
    title = score_title(run.measure(score))
    figure = figures.score_scatter(
        [figures.Cloud(name, x[at], y[at]) for name, at in members.items()], f"Before: {title}", f"After: {title}"
    )
    st.markdown(f"**{plain(run.measure(score).title)}, before and after** (click a point to open the example)")
    event = chart.chart(
        figure,
        key=f"compare {score} {by}",
        on_select="rerun",
        selection_mode="points",
        alt=f"{run.measure(score).title} of {len(both.before):,} training examples by the two runs",
    )
    for point in event.selection.points[:1]:
        if point["curve_number"] < len(members):
            position = list(members.values())[point["curve_number"]][point["point_index"]]
            row = (both.before if run is before else both.after)[position]
            navigation.open_example(run, run.examples["id"].iloc[row])


def _by_label(both: comparison.Shared, noun: str) -> dict[str, np.ndarray]:
    return {f"same {noun}": ~both.relabeled, "relabeled": both.relabeled}


def _by_prediction(before: Run, after: Run, both: comparison.Shared) -> dict[str, np.ndarray]:
    """Return masks of the examples by whether each run's model predicts that run's label."""
    was = before.examples["correct"].to_numpy(dtype=bool)[both.before]
    now = after.examples["correct"].to_numpy(dtype=bool)[both.after]
    return {
        "right in both": was & now,
        "wrong in both": ~was & ~now,
        "became right": ~was & now,
        "became wrong": was & ~now,
    }


def _by_distance(before: Run, after: Run, both: comparison.Shared) -> dict[str, np.ndarray]:
    """Return masks of the examples by which run's model predicts that run's value more closely."""
    sides = ((before, both.before), (after, both.after))
    was, now = (np.abs(each.examples["residual"].to_numpy()[rows]) for each, rows in sides)
    return {"closer after": now < was, "farther after": now > was, "unchanged": now == was}


def _agreement(run: Run, agreements: dict[str, tuple[float, int]]) -> None:
    st.markdown("**Agreement of the scores**")
    rows = pd.DataFrame(
        {
            "Score": [run.measure(name).title for name in agreements],
            "Rank correlation": [value for value, _ in agreements.values()],
            "Examples": [count for _, count in agreements.values()],
        }
    ).sort_values("Rank correlation", ascending=False)
    columns = {
        "Rank correlation": st.column_config.ProgressColumn(format="%.2f", min_value=0, max_value=1),
        "Examples": st.column_config.NumberColumn(format="localized"),
    }
    st.dataframe(
        rows,
        hide_index=True,
        height=height_of(len(rows)),
        column_config=columns,
        alt="Rank correlation of each score between the two runs",
    )
    st.caption("Spearman's rank correlation over the shared training examples: 1 is the same order, 0 is no relation.")


def _movers(run: Run, before: Run, after: Run, score: str) -> None:
    """Draw the examples whose rank among the shared ones rose and fell most, as tiles of the current run."""
    both = comparison.shared(before, after)
    places = [
        each.examples[score].iloc[rows].rank(pct=True).to_numpy()
        for each, rows in ((before, both.before), (after, both.after))
    ]
    moved = np.nan_to_num(places[1] - places[0])
    order = np.argsort(-moved, kind="stable")
    frame = session.examples(run)
    rows = both.before if run is before else both.after
    for title, positions in (("Rose most", order[:_TILES]), ("Fell most", order[::-1][:_TILES])):
        chosen = positions[np.abs(moved[positions]) > 0]
        chosen = chosen[np.sign(moved[chosen]) == (1 if title == "Rose most" else -1)]
        if not len(chosen):
            continue
        furthest, least = (100 * abs(moved[chosen[end]]) for end in (0, -1))
        st.markdown(f"**{title} in rank**, by {furthest:.0f} to {least:.0f} percentiles of the shared examples")
        answer = gallery(
            run, frame.iloc[rows[chosen]], score, key=f"{title} {score}", name=title, layout="strip", size=100
        )
        if answer.opened is not None:
            navigation.open_tile(run, answer.opened)
    if moved.any():
        st.caption(f"The tiles show the scores, {labels.noun(run)}s and decisions of {plain(run.id)}.")
