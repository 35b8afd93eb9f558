"""Contributions over several trainings: how far they agree, and a job that averages over more."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.schema import CONTRIBUTION_SPREAD
from samplescope_app.data import session
from samplescope_app.panels import jobs
from samplescope_app.wording.text import format_score, plain

_FIRST = 5  # trainings that are offered for a run of one


def draw(run: Run) -> None:
    """Draw the spread of the contributions between trainings, and the button that trains more."""
    trainings = int(run.manifest.details.get("contribution", {}).get("trainings", 1))
    st.markdown(plain(_spread_text(run, trainings)))
    if run.manifest.config.get("training") == "none":
        return
    seeds = _FIRST if trainings == 1 else 2 * trainings
    stages = [
        run.manifest.stages[name].seconds for name in ("training", "contributions") if name in run.manifest.stages
    ]
    seconds = sum(each or 0.0 for each in stages) * (seeds - trainings)
    more = seeds - trainings
    jobs.offer(
        run.id,
        "contributions",
        {"seeds": seeds},
        label=f"Average over {seeds} trainings",
        key="average contributions",
        cost=f"{more} more trainings" + (f", about {jobs.duration(seconds)}" if seconds else ""),
    )


def _spread_text(run: Run, trainings: int) -> str:
    if trainings == 1:
        return (
            "These contributions are of one training. Another seed gives others: their mean over several trainings is "
            "closer to what a removal does, and its spread says how much to trust it."
        )
    examples, unit = session.examples(run), run.measure("contribution").unit
    spread = float(examples[CONTRIBUTION_SPREAD].median())
    low, high = examples["contribution"].quantile([0.05, 0.95])
    return (
        f"Means over {trainings} trainings. Between trainings, the contribution of an example differs by a standard "
        f"deviation of {format_score(spread)} {unit} (median); 90% of the means are from {format_score(low)} to "
        f"{format_score(high)}."
    )
