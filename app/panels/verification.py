"""Scores compared with retraining: the table, its points, the noise between seeds, and more retrainings."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.jobs.jobs import usable_cores
from attribution_core.runs import RETRAINING_OUTCOMES, Run
from attribution_core.runs.retraining import read_retraining_summary
from attribution_core.runs.verification import read_verification
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import navigation
from samplescope_app.panels import jobs
from samplescope_app.panels.evidence import interval, title
from samplescope_app.wording.text import plain, score_title

_EXAMPLES, _HALVES, _SEEDS = 40, 50, 2
# Unit of a truth that is not a loss, in a classification and in a regression.
_TRUTH_UNITS = {
    "output_change": ("half squared logits", "half squared SD"),
    "own_probability_change": ("probability", "SD"),
}
_FEW_HALVES = 20
_OVER_EXAMPLES = ("loss_change",)  # predicted for each evaluation example; drawn as means over them


def summary(run: Run, details: dict[str, Any]) -> None:
    """Draw a table of how well each score predicts the effect of retraining."""
    rows = [
        {
            "Score": title(run, name),
            "Predicts": RETRAINING_OUTCOMES[method["truth"]].capitalize(),
            "Pearson": interval(method["single"]["pearson"]),
            "Spearman": interval(method["single"]["spearman"]),
            "Noise ceiling": method["ceiling"],
            "Strongest 1%": (method.get("strongest") or {}).get("spearman"),
            "LDS": interval(method["lds"]),
        }
        for name, method in details["methods"].items()
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config=dict.fromkeys(("Noise ceiling", "Strongest 1%"), st.column_config.NumberColumn(format="%.2f")),
        placeholder="",  # in place of None
        alt="Correlation of each score with the effect of retraining",
    )
    ceiling = details["lds_ceiling"]
    limit = f" The noise ceiling of the LDS is {ceiling:.2f}." if ceiling is not None else ""
    st.caption(
        f"Retraining removed {len(details['chosen']):,} examples one by one and used {details['halves']:,} random "
        f"halves of the data, {_times(details['seeds'])}. Half of the removed examples were drawn at random, half have "
        "the strongest scores. The table shows the correlation of predicted and actual effects with 95% intervals. The "
        "noise ceiling is the highest rank correlation that the noise of retraining allows. The linear datamodeling "
        f"score (LDS) is the rank correlation over the halves, for scores that predict losses on other examples.{limit}"
        f"{_of_strongest(details)}"
    )
    if 0 < details["halves"] < _FEW_HALVES:
        st.caption(f"With fewer than {_FEW_HALVES} halves, the interval of an LDS is rough, and often too narrow.")


def _of_strongest(details: dict[str, Any]) -> str:
    """Say how right the strongest effects are, in a sentence; empty where no score has effects of pairs."""
    found = {name: method["strongest"] for name, method in details["methods"].items() if method.get("strongest")}
    if not found:
        return ""
    name = "influence" if "influence" in found else next(iter(found))
    of, limit = found[name], found[name]["ceiling"]
    most = f", where noise allows {limit:.2f}" if limit is not None else ""
    return (
        " Most examples do nothing to most others, so rank correlations over all pairs mostly compare noise. The "
        f"strongest 1% of the predicted effects have a column of their own: by {plain(name)}, {of['signs']:.0%} of "
        f"them have the right sign, and their Spearman is {of['spearman']:.2f}{most}."
    )


def scatter(run: Run, details: dict[str, Any]) -> None:
    """Draw the predicted and actual effect of each removed example for one score."""
    points = read_verification(run.path)
    if points.empty:
        st.info(
            "An earlier version verified this run and did not store single removals. Verify it again below: this "
            "reuses the finished trainings, so it takes moments.",
            icon=":material/scatter_plot:",
        )
        return
    methods = list(dict.fromkeys(points["method"]))
    choice, _ = st.columns([2, 3])
    with choice:
        name = st.selectbox(
            "Score", methods, format_func=functools.partial(title, run), key="trust score", persist_state="session"
        )
    members, method = points[points["method"] == name], details["methods"][name]
    plot, text = st.columns([6, 4], gap="large")
    with plot:
        _draw(run, name, method["truth"], members)
    with text:
        _describe(run, name, method, members)


def _draw(run: Run, name: str, truth: str, members: pd.DataFrame) -> None:
    averaged = ", mean" if truth in _OVER_EXAMPLES else ""
    known, unit = run.known_measures.get(name), truth_unit(run, truth)
    figure = figures.truth_scatter(
        members["estimate"].to_numpy(),
        members["truth"].to_numpy(),
        members["spread"].to_numpy(),
        f"predicted: {score_title(known) if known else name}{averaged}",
        f"actual: {RETRAINING_OUTCOMES[truth]} ({unit}){averaged}",
        same_unit=known is not None and known.unit == unit,
    )
    alt = f"{title(run, name)} of {len(members)} removed examples against the actual effect of retraining without them"
    event = chart.chart(figure, key=f"truth {name}", on_select="rerun", selection_mode="points", alt=alt)
    for point in event.selection.points[:1]:
        if point["curve_number"] == 0:
            navigation.open_example(run, run.examples["id"].iloc[int(members["row"].iloc[point["point_index"]])])


def _describe(run: Run, name: str, method: dict[str, Any], members: pd.DataFrame) -> None:
    drawn = method.get("by_example", method["single"])
    ceiling = method.get("by_example_ceiling", method["ceiling"])
    outcome = RETRAINING_OUTCOMES[method["truth"]]
    st.markdown(
        f"**{plain(title(run, name))}** against {plain(outcome)}, {len(members):,} examples  \n"
        f"Pearson **{interval(drawn['pearson'])}**  \nSpearman **{interval(drawn['spearman'])}**"
    )
    if ceiling is None:
        st.caption("With one seed, the noise of retraining is not known. Use two seeds or more.")
    else:
        noise = float(np.sqrt(np.mean(np.square(members["spread"]))))
        over = float(members["truth"].std())
        st.markdown(f"Noise ceiling of Spearman **{ceiling:.2f}**")
        st.caption(
            f"Bars are standard deviations between seeds, on average {noise:.2g} ({truth_unit(run, method['truth'])}); "
            f"the standard deviation between examples is {over:.2g}. No score can agree with retraining better than "
            "retraining agrees with itself."
        )
    if method["truth"] in _OVER_EXAMPLES:
        st.caption(
            "The figure shows means over the evaluation examples; the table above uses single pairs, which are noisier."
        )
    if name in run.known_measures:
        st.caption(plain(run.measure(name).definition))
    st.caption("Click a point to open the example.")


def seeds(run: Run, details: dict[str, Any]) -> None:
    """Draw how much the actual effects differ between seeds."""
    points, trainings = read_verification(run.path), read_retraining_summary(run.path)
    if details["seeds"] < 2 or points.empty:
        st.caption("The variation between seeds needs two seeds or more.")
        return
    truth_of = {name: method["truth"] for name, method in details["methods"].items()}
    rows = []
    for truth, members in points.groupby(points["method"].map(truth_of), sort=False):
        one = members[members["method"] == members["method"].iloc[0]]
        noise, over = float(np.sqrt(np.mean(np.square(one["spread"])))), float(one["truth"].std())
        rows.append(
            {
                "Actual effect": RETRAINING_OUTCOMES[truth].capitalize(),
                "Between seeds": noise,
                "Between examples": over,
                "Ratio": noise / over if over else np.nan,
                "Unit": truth_unit(run, truth),
            }
        )
    number = st.column_config.NumberColumn(format="%.2g")
    columns = dict.fromkeys(("Between seeds", "Between examples", "Ratio"), number)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config=columns,
        alt="Standard deviation of the actual effects between seeds",
    )
    whole = trainings[(trainings["removed"] == 0) & trainings["keeps_places"].astype(bool)]["accuracy"]
    on_all = (
        f" Training on all examples gave a validation {run.quality_name} of {whole.min():.1%} to {whole.max():.1%} "
        f"over {len(whole)} seeds."
        if len(whole)
        else ""
    )
    st.caption(
        f"Standard deviations of the same removal between {details['seeds']} seeds, and between examples of the mean "
        f"over seeds. With a ratio above one, a single retraining shows mostly noise.{on_all}"
    )


def more(run: Run) -> None:
    """Draw the numbers of retrainings to choose, their cost, and the button that starts them."""
    details = run.manifest.details.get("verification", {})
    before = {"examples": len(details.get("chosen", [])), **{name: details.get(name) for name in ("halves", "seeds")}}
    most = len(run.examples)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        examples = _number(run, "Examples removed", before["examples"] or min(_EXAMPLES, most), 3, most)
        halves = _number(run, "Random halves", _HALVES if before["halves"] is None else before["halves"], 0, 1000)
        count = _number(run, "Seeds", before["seeds"] or _SEEDS, 1, 20)
    if halves in (1, 2, 3):
        st.caption("Choose no halves, or four or more: fewer give no estimate.")
        return
    options = {"examples": examples, "halves": halves, "seeds": count}
    label = "Retrain more" if details else "Verify by retraining"
    jobs.offer(run.id, "verify", options, label=label, key="verify", cost=_cost(run, **options), primary=True)


def truth_unit(run: Run, truth: str) -> str:
    """Return the unit of a truth; the points of a perfect score of the same unit are on the diagonal."""
    if truth in _TRUTH_UNITS:
        return _TRUTH_UNITS[truth][run.values is not None]
    return run.measure("loss").unit


def missing_trainings(trainings: pd.DataFrame, first_seed: int, examples: int, halves: int, seeds: int) -> int:
    """Return the number of trainings that a verification still needs; it reuses those of a smaller one.

    Args:
        trainings: Finished trainings, from :func:`read_retraining_summary`.
        first_seed: Seed of the run.
        examples: Number of examples to remove one by one.
        halves: Number of random halves.
        seeds: Number of seeds for each.
    """
    missing = 0
    for seed in range(first_seed, first_seed + seeds):
        of_seed = trainings[trainings["seed"] == seed]
        places = of_seed["keeps_places"].astype(bool)
        whole = int((places & (of_seed["removed"] == 0)).sum())
        single = int((places & (of_seed["removed"] == 1)).sum())
        missing += (1 - min(1, whole)) + max(0, examples - single) + max(0, halves - int((~places).sum()))
    return missing


def _number(run: Run, label: str, value: int, least: int, most: int) -> int:
    key = f"verify {run.id} {label}"
    st.session_state.setdefault(key, int(min(max(value, least), most)))
    return st.number_input(label, least, max(least, most), key=key, persist_state="session", width=170)


def _cost(run: Run, examples: int, halves: int, seeds: int) -> str:
    """Return the number of missing trainings and their time in parallel, in words."""
    trainings = read_retraining_summary(run.path)
    missing = missing_trainings(trainings, int(run.manifest.config.get("seed", 0)), examples, halves, seeds)
    if not missing:
        return "all trainings are done, so this takes moments"
    stage = run.manifest.stages.get("training")
    once = float(trainings["seconds"].mean()) if len(trainings) else (stage.seconds if stage else None)
    words = f"{missing:,} trainings to do"
    if once is None:
        return words
    cores = usable_cores()
    total = jobs.duration(once * missing / cores)
    return f"{words}, {once:.1f} s each, {cores} in parallel: about {total}"


def _times(seeds: int) -> str:
    return "with one seed each" if seeds == 1 else f"with {seeds} seeds each"
