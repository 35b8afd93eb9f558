"""Influence functions beside the question that they answer, and that beside the one that people ask."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.panels import jobs
from samplescope_app.wording.text import plain

_EXAMPLES = 5
# What a part of the gap changes, from retraining to the influence function.
_PARTS = {
    "warm-start": "train on, not again",
    "proximity": "stay near the weights",
    "non-convergence": "keep the other outputs",
    "linearization": "linearize",
    "solver": "solve",
}
_QUESTIONS = {
    "bregman": "Its own question",
    "two-stage": "Trained on without it or with it",
    "warm": "Trained on without it",
    "cold": "Trained again without it",
}


def draw(run: Run) -> None:
    """Draw the five parts of the gap, the correlations, and the button that computes them."""
    if "influence" not in run.effect_methods or run.manifest.config.get("training") == "none":
        return
    st.markdown("#### The question that influence functions answer")
    found = run.manifest.details.get("responses")
    if found is None:
        st.caption(
            "An influence function does not estimate the loss after retraining without an example. It estimates the "
            "loss after the weights gave up that example's fit while they keep near where they are, and all other "
            "outputs as they are: the proximal Bregman response. Here both are computed for some examples."
        )
    else:
        plot, table = st.columns(2, gap="large")
        with plot:
            parts = pd.DataFrame(
                [(_PARTS[name], mean, spread) for name, (mean, spread) in found["parts"].items()],
                columns=["part", "mean", "spread"],
            )
            figure = figures.parts(parts, "distance of the outputs on the training set")
            chart.chart(figure, key="response parts", alt="The five parts between retraining and influence functions")
            st.caption(
                f"What separates retraining (top) from the influence function (bottom), for {len(found['rows'])} "
                "removed examples: mean and standard deviation. *Bae et al. 2022, table 5*"
            )
        with table:
            _correlations(found)
    done = len(found["rows"]) if found else 0
    more = min(len(run.examples), max(_EXAMPLES, 2 * done))
    seconds = f": about {jobs.duration((more - done) * found['seconds'])}" if found else ""
    cost = f"{more - done} examples, each with some trainings{seconds}"
    label = "Compare more examples" if found else "Compare with its own question"
    jobs.offer(run.id, "responses", {"examples": more}, label=label, key="responses", cost=cost)


def _correlations(found: dict) -> None:
    kinds = found["correlations"]
    rows = [
        {"Change of the loss": question, **{kind.capitalize(): kinds[kind][name][0] for kind in kinds}}
        for name, question in _QUESTIONS.items()
    ]
    number = st.column_config.NumberColumn(format="%.2f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={kind.capitalize(): number for kind in kinds},
        alt="Correlation of influence functions with each way of removing an example",
    )
    own, asked = (kinds["at the end"][name][0] for name in ("bregman", "cold"))
    st.caption(
        plain(
            f"Pearson's correlation over all pairs of removed and validation examples, all of one training. Asked its "
            f"own question, the influence function at the last weights is right: {own:.2f}. Asked yours, it has "
            f"{asked:.2f}. Influence along training is the one that this run shows; the table at the top compares it "
            "with retraining over several seeds."
        )
    )
