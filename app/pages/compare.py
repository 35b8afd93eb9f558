"""Compare: two runs of the same data, how good they are, their settings and scores, example by example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import comparison, run_library, session
from samplescope_app.panels import jobs, parts, retraining
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_title

_TILES = 24
_COLOURS = ("Prediction", "Label")
_EXPLANATION = (
    "Two runs that share training examples, side by side: before and after cleaning, or with another model, seed or "
    "setting. Each point below is a training example; far from the diagonal, the two runs disagree about it."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Compare", _EXPLANATION)
    others = comparison.partners(run)
    if not others:
        _nothing_to_compare(run)
        return
    other = _chosen(run, others)
    before, after = comparison.in_order(run, other)
    try:
        _draw(run, before, after)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")


def _nothing_to_compare(run: Run) -> None:
    others = [entry for entry in run_library.runs() if entry.run is not None and entry.id != run.id]
    reason = (
        f"The other {len(others):,} runs in this folder are of other data: none shares a training example with it."
        if len(others) > 1
        else "The other run in this folder is of other data: it shares no training example with this one."
        if others
        else "This is the only run in its folder."
    )
    seconds = jobs.seconds_of(run)
    cost = f" Either takes about as long as this run did, {seconds:,.0f} s." if seconds else ""
    st.info(
        f"{reason} Drop or relabel examples on Review and retrain there on what is left, or score the same data with "
        f"another model or seed.{cost}",
        icon=":material/compare_arrows:",
    )
    with st.container(horizontal=True):
        st.page_link(session.PAGES["review"], label="Review", icon=":material/rule:", query_params={"run": run.id})
        st.page_link(session.PAGES["new"], label="New run", icon=":material/add:")


def _chosen(run: Run, others: list[Run]) -> Run:
    """The two select boxes; the address has both runs."""
    by_id = {each.id: each for each in [run, *others]}
    asked = st.query_params.get("other")
    other = by_id[asked] if asked in by_id and asked != run.id else comparison.default_partner(run, others)
    left, right = st.columns(2, gap="large")
    names = {name: f"{each.title} · {name}" for name, each in by_id.items()}
    # Keyed by what the address says, so that a link and the widgets never disagree.
    with left:
        one = st.selectbox("Run", list(names), list(names).index(run.id), names.get, key=f"compare run {run.id}")
    rest = [name for name in names if name != one]
    with right:
        at = rest.index(other.id) if other.id in rest else 0
        two = st.selectbox("Compare with", rest, at, names.get, key=f"compare {one} {other.id}")
    st.query_params["other"] = two
    if one != run.id:
        st.query_params["run"] = one
        st.rerun()
    return by_id[two]


def _draw(run: Run, before: Run, after: Run) -> None:
    if comparison.parent_of(after) == before.id:
        counts = after.manifest.details["cleaning"]
        st.info(
            f"{plain(after.id)} was retrained on what the decisions on {plain(before.id)} left: {counts['dropped']:,} "
            f"dropped, {counts['relabelled']:,} relabelled. {retraining.difference(before, after)}",
            icon=":material/restart_alt:",
        )
    left, right = st.columns([7, 4], gap="large")
    with left:
        _qualities(before, after)
        _examples(before, after)
    with right:
        _settings(before, after)
    _scores(run, before, after)


def _qualities(before: Run, after: Run) -> None:
    quality = before.quality_name.capitalize()
    st.markdown(f"**{quality} on the examples that both have, under the same {labels.noun(before)}**")
    changed = "Became right, wrong" if before.values is None else "Predicted closer, farther"
    rows = []
    for split, found in comparison.qualities(before, after).items():
        if found.examples:
            low, high = found.interval
            rows.append(
                {
                    "Split": split.capitalize(),
                    "Examples": found.examples,
                    "Before": f"{found.before:.1%}",
                    "After": f"{found.after:.1%}",
                    "Difference": f"{100 * found.difference:+.1f}",
                    "95% interval": f"{100 * low:+.1f} to {100 * high:+.1f}",
                    changed: f"{found.gained:,}, {found.lost:,}",
                }
            )
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt=f"{quality} of both runs by split")
    st.caption(
        f"Before: {plain(before.title)} ({plain(before.id)}). After: {plain(after.title)} ({plain(after.id)}). "
        "Differences in percentage points, after minus before, with intervals from the pairs that differ: they cover "
        "which examples were tested, not that another seed would have trained another model."
    )


def _examples(before: Run, after: Run) -> None:
    both = comparison.shared(before, after)
    relabelled = int(both.relabelled.sum())
    st.markdown(
        f"**{len(both.before):,}** training examples in both ({relabelled:,} with another "
        f"{labels.noun(before)}), "
        f"**{both.only_before:,}** before only, **{both.only_after:,}** after only"
    )


def _settings(before: Run, after: Run) -> None:
    st.markdown("**Settings that differ**")
    one, other = comparison.settings(before), comparison.settings(after)
    names = [name for name in {**one, **other} if one.get(name, "") != other.get(name, "")]
    if not names:
        st.caption("None.")
        return
    values = {
        "Setting": names,
        **{side: [of.get(n, "") for n in names] for side, of in (("Before", one), ("After", other))},
    }
    st.dataframe(pd.DataFrame(values), hide_index=True, alt="Settings in which the runs differ")


def _scores(run: Run, before: Run, after: Run) -> None:
    """A scatter of one score, how every score agrees, and the examples that moved most."""
    agreements = comparison.agreements(before, after)
    chosen, colour = st.columns([2, 5], vertical_alignment="bottom", gap="large")
    with chosen:
        score = st.selectbox(
            "Score",
            list(agreements),
            format_func=lambda name: run.measure(name).title,
            key="compare score",
            persist_state="session",
        )
    with colour:
        by = st.segmented_control(
            "Colour by",
            _COLOURS,
            format_func=lambda name: labels.noun(run).capitalize() if name == "Label" else name,
            default=_COLOURS[0],
            required=True,
            key="compare colour",
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
        [figures.Cloud(name, x[at], y[at]) for name, at in members.items()], f"{title} before", f"{title} after"
    )
    st.markdown(f"**{plain(run.measure(score).title)}, before and after** — click a point to see the example")
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
            session.open_example(run, run.examples["id"].iloc[row])


def _by_label(both: comparison.Shared, noun: str) -> dict[str, np.ndarray]:
    return {f"same {noun}": ~both.relabelled, "relabelled": both.relabelled}


def _by_prediction(before: Run, after: Run, both: comparison.Shared) -> dict[str, np.ndarray]:
    """Whether each run's model agrees with the run's own label."""
    was = before.examples["correct"].to_numpy(dtype=bool)[both.before]
    now = after.examples["correct"].to_numpy(dtype=bool)[both.after]
    return {
        "right in both": was & now,
        "wrong in both": ~was & ~now,
        "became right": ~was & now,
        "became wrong": was & ~now,
    }


def _by_distance(before: Run, after: Run, both: comparison.Shared) -> dict[str, np.ndarray]:
    """Which run's model predicts the run's own value more closely."""
    sides = ((before, both.before), (after, both.after))
    was, now = (np.abs(each.examples["residual"].to_numpy()[rows]) for each, rows in sides)
    return {"closer after": now < was, "farther after": now > was, "as far": now == was}


def _agreement(run: Run, agreements: dict[str, tuple[float, int]]) -> None:
    st.markdown("**Do both rank the examples alike?**")
    rows = pd.DataFrame(
        {
            "Score": [run.measure(name).title for name in agreements],
            "Rank correlation": [value for value, _ in agreements.values()],
            "Examples": [count for _, count in agreements.values()],
        }
    ).sort_values("Rank correlation", ascending=False)
    column = st.column_config.ProgressColumn(format="%.2f", min_value=0, max_value=1)
    st.dataframe(
        rows,
        hide_index=True,
        height=38 + 35 * len(rows),
        column_config={"Rank correlation": column},
        alt="Rank correlation of each score between the two runs",
    )
    st.caption(
        "Spearman's correlation over the training examples that both runs have; 1: the same order, 0: unrelated."
    )


def _movers(run: Run, before: Run, after: Run, score: str) -> None:
    """Tiles of the current run: how far up or down an example went among the shared ones."""
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
        st.markdown(f"**{title} in rank**: by {furthest:.0f} to {least:.0f} percentiles of the shared examples")
        answer = gallery(
            run, frame.iloc[rows[chosen]], score, key=f"{title} {score}", name=title, layout="strip", size=100
        )
        if answer.opened is not None:
            session.open_example(run, answer.opened)
    st.caption(f"Scores, {labels.noun(run)}s and decisions on the tiles are those of {plain(run.id)}.")


main()
