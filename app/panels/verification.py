"""Scores against really training again: the table, the points behind it, the noise, and more trainings."""

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
# What a truth is measured in, where it is no loss, for classes and for values.
_TRUTH_UNITS = {
    "output_change": ("half squared logits", "half squared SD"),
    "own_probability_change": ("probability", "SD"),
}
_FEW_HALVES = 20
_OVER_EXAMPLES = ("loss_change",)  # foretold for each evaluation example, and drawn as a mean over them


def summary(run: Run, details: dict[str, Any]) -> None:
    """How well each score foretold what happened, as a table."""
    rows = [
        {
            "Score": title(run, name),
            "Foretells": RETRAINING_OUTCOMES[method["truth"]].capitalize(),
            "Pearson": interval(method["single"]["pearson"]),
            "Spearman": interval(method["single"]["spearman"]),
            "At most": method["ceiling"],
            "LDS": interval(method["lds"]),
        }
        for name, method in details["methods"].items()
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={"At most": st.column_config.NumberColumn(format="%.2f")},
        alt="Correlation of each score with what retraining shows",
    )
    ceiling = details["lds_ceiling"]
    limit = f" Retraining noise leaves at most an LDS of {ceiling:.2f}." if ceiling is not None else ""
    st.caption(
        f"{len(details['chosen']):,} examples were removed one by one and {details['halves']:,} random halves trained "
        f"on, {_times(details['seeds'])}. Half of the examples were drawn at random, half are those on which the "
        "scores are strongest. Correlation of what each score foretells with what happened, with 95% intervals; *at "
        "most* is the rank correlation that retraining noise leaves possible. LDS, the linear datamodelling score, is "
        f"the rank correlation over the halves, for scores that foretell losses on other examples.{limit}"
    )
    if 0 < details["halves"] < _FEW_HALVES:
        st.caption(
            f"Over fewer than {_FEW_HALVES} halves the interval of an LDS itself is rough, and often too narrow."
        )


def scatter(run: Run, details: dict[str, Any]) -> None:
    """What one score foretold of each removed example, and what happened."""
    points = read_verification(run.path)
    if points.empty:
        st.info(
            "This run was verified before the single removals were kept for drawing. Verify it again, below: the "
            "trainings that are done are used again, so it takes moments.",
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
    plot, words = st.columns([6, 4], gap="large")
    with plot:
        _draw(run, name, method["truth"], members)
    with words:
        _say(run, name, method, members)


def _draw(run: Run, name: str, truth: str, members: pd.DataFrame) -> None:
    averaged = ", mean" if truth in _OVER_EXAMPLES else ""
    known, unit = run.known_measures.get(name), truth_unit(run, truth)
    figure = figures.truth_scatter(
        *(members[column].to_numpy() for column in ("estimate", "truth", "spread")),
        f"foretold: {score_title(known) if known else name}{averaged}",
        f"happened: {RETRAINING_OUTCOMES[truth]} ({unit}){averaged}",
        same_unit=known is not None and known.unit == unit,
    )
    alt = (
        f"{title(run, name)} of {len(members)} examples removed one by one, against what retraining without them showed"
    )
    event = chart.chart(figure, key=f"truth {name}", on_select="rerun", selection_mode="points", alt=alt)
    for point in event.selection.points[:1]:
        if point["curve_number"] == 0:
            navigation.open_example(run, run.examples["id"].iloc[int(members["row"].iloc[point["point_index"]])])


def _say(run: Run, name: str, method: dict[str, Any], members: pd.DataFrame) -> None:
    drawn = method.get("by_example", method["single"])
    ceiling = method.get("by_example_ceiling", method["ceiling"])
    outcome = RETRAINING_OUTCOMES[method["truth"]]
    st.markdown(
        f"**{plain(title(run, name))}** against {plain(outcome)}, {len(members):,} examples  \n"
        f"Pearson **{interval(drawn['pearson'])}**  \nSpearman **{interval(drawn['spearman'])}**"
    )
    if ceiling is None:
        st.caption(
            "With one seed it is not known how much of the scatter is the noise of retraining: take two or more."
        )
    else:
        noise = float(np.sqrt(np.mean(np.square(members["spread"]))))
        over = float(members["truth"].std())
        st.markdown(f"Noise ceiling of Spearman **{ceiling:.2f}**")
        st.caption(
            f"Bars are standard deviations between seeds: {noise:.2g} ({truth_unit(run, method['truth'])}) on "
            f"average, where the examples themselves differ by {over:.2g}. No score can agree with retraining better "
            "than retraining with itself."
        )
    if method["truth"] in _OVER_EXAMPLES:
        st.caption(
            "Drawn are means over the evaluation examples; the table above is over single pairs, which are noisier."
        )
    if name in run.known_measures:
        st.caption(plain(run.measure(name).definition))
    st.caption("Click a point to see the example.")


def seeds(run: Run, details: dict[str, Any]) -> None:
    """How much the truth itself differs between seeds."""
    points, trainings = read_verification(run.path), read_retraining_summary(run.path)
    if details["seeds"] < 2 or points.empty:
        st.caption("With two seeds or more, how much the truth itself differs from seed to seed is shown here.")
        return
    truth_of = {name: method["truth"] for name, method in details["methods"].items()}
    rows = []
    for truth, members in points.groupby(points["method"].map(truth_of), sort=False):
        one = members[members["method"] == members["method"].iloc[0]]
        noise, over = float(np.sqrt(np.mean(np.square(one["spread"])))), float(one["truth"].std())
        rows.append(
            {
                "What happened": RETRAINING_OUTCOMES[truth].capitalize(),
                "Between seeds": noise,
                "Between examples": over,
                "Ratio": noise / over if over else np.nan,
                "Unit": truth_unit(run, truth),
            }
        )
    number = st.column_config.NumberColumn(format="%.2g")
    columns = dict.fromkeys(("Between seeds", "Between examples", "Ratio"), number)
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns, alt="Spread of the truth between seeds")
    whole = trainings[(trainings["removed"] == 0) & trainings["keeps_places"].astype(bool)]["accuracy"]
    st.caption(
        f"Standard deviations: of the same removal under {details['seeds']} seeds, and of the mean over seeds from "
        "example to example. A ratio above one says that a single retraining mostly shows noise. Trained on "
        f"everything, the validation {run.quality_name} was {whole.min():.1%} to {whole.max():.1%} over {len(whole)} "
        "seeds."
    )


def more(run: Run) -> None:
    """Numbers to choose, what they cost, and the button that trains."""
    details = run.manifest.details.get("verification", {})
    before = {"examples": len(details.get("chosen", [])), **{name: details.get(name) for name in ("halves", "seeds")}}
    most = len(run.examples)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        examples = _number(run, "Examples removed", before["examples"] or min(_EXAMPLES, most), 3, most)
        halves = _number(run, "Random halves", _HALVES if before["halves"] is None else before["halves"], 0, 1000)
        count = _number(run, "Seeds of each", before["seeds"] or _SEEDS, 1, 20)
    if halves in (1, 2, 3):
        st.caption("Take no halves, or four and more: fewer say nothing.")
        return
    options = {"examples": examples, "halves": halves, "seeds": count}
    label = "Run more retrainings" if details else "Verify by retraining"
    jobs.offer(run.id, "verify", options, label=label, key="verify", cost=_cost(run, **options), primary=True)


def truth_unit(run: Run, truth: str) -> str:
    """What a truth is measured in; a score of the same unit should lie on the diagonal."""
    if truth in _TRUTH_UNITS:
        return _TRUTH_UNITS[truth][run.values is not None]
    return run.measure("loss").unit


def missing_trainings(trainings: pd.DataFrame, first_seed: int, examples: int, halves: int, seeds: int) -> int:
    """How many trainings a verification has still to do; those with larger numbers begin with the same ones.

    Args:
        trainings: From :func:`read_retraining_summary`.
        first_seed: The run's.
        examples: Examples to remove one by one.
        halves: Random halves.
        seeds: Of each.
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
    """Trainings still missing, and the time they take side by side."""
    trainings = read_retraining_summary(run.path)
    missing = missing_trainings(trainings, int(run.manifest.config.get("seed", 0)), examples, halves, seeds)
    if not missing:
        return "all of these trainings are done: it takes moments"
    stage = run.manifest.stages.get("training")
    once = float(trainings["seconds"].mean()) if len(trainings) else (stage.seconds if stage else None)
    words = f"{missing:,} trainings still to do"
    if once is None:
        return words
    cores = usable_cores()
    total = jobs.duration(once * missing / cores)
    return f"{words}, {once:.1f} s each, {cores} side by side: about {total}"


def _times(seeds: int) -> str:
    return "once each" if seeds == 1 else f"{seeds} seeds each"
