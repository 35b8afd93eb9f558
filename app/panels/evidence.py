"""A summary of the evidence about a run's scores: trust, agreement and near-duplicates."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from attribution_core.evaluation.comparison import rank_correlations
from attribution_core.runs import RETRAINING_OUTCOMES, Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_PAIRS = 30
_OPPOSED = "Margin and confidence are high where the model agrees with the label, so most scores oppose them. "


def title(run: Run, name: str) -> str:
    """Return the title of a score, known or not."""
    return run.measure(name).title if name in run.known_measures else name.capitalize()


def interval(estimate: dict[str, float] | None) -> str:
    """Return a number with its 95% interval as text; empty if there is none."""
    if estimate is None:
        return ""
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def trust_in_short(run: Run) -> None:
    """Draw how well each score predicts the effect of retraining, and a button that opens Trust."""
    methods = run.manifest.details.get("verification", {}).get("methods", {})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Agreement of the scores with retraining**", width="stretch")
        if st.button("Trust", key="to trust", type="tertiary", icon=":material/arrow_forward:"):
            navigation.go("trust", run)
    if not methods:
        st.caption("Not verified yet: Trust compares the scores with actual retraining.")
        return
    # In Markdown, since the first st.dataframe of a visit loads 1.3 MB of scripts, which Overview would wait for.
    lines = ["| Score | Predicts | Rank correlation with retraining | Noise ceiling |", "|---|---|---|---|"]
    for name, method in methods.items():
        most = "" if method["ceiling"] is None else f"{method['ceiling']:.2f}"
        found = interval(method["single"]["spearman"])
        lines.append(
            f"| {plain(title(run, name))} | {plain(RETRAINING_OUTCOMES[method['truth']])} | {plain(found)} | {most} |"
        )
    st.markdown("\n".join(lines))
    st.caption("With 95% intervals. The noise ceiling is the highest correlation that the noise of retraining allows.")


def agreement(run: Run) -> None:
    """Draw the rank correlation between the scores."""
    folded = st.expander("Rank correlation between the scores", key="agreement folded", on_change="rerun")
    if not folded.open:  # a closed expander costs the browser as much to draw as an open one
        return
    with folded:
        found = _agreement(run, run.version)
        figure = figures.heatmap(found, "", "").update_layout(height=110 + 36 * len(found))
        chart.chart(
            figure, key="agreement", alt="Spearman's rank correlation of each two scores over the training examples"
        )
        st.caption(
            f"Spearman's rank correlation over the {len(run.examples):,} training examples: 1 is the same order, 0 is "
            f"no relation, −1 is the reverse order. {_OPPOSED if 'margin' in run.scores else ''}Agreement does not "
            "make two scores right: Trust compares them with retraining."
        )


@st.cache_resource(max_entries=8, show_spinner=False)
def _agreement(_run: Run, version: str) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    found = rank_correlations(_run.examples[_run.scores])
    titles = functools.partial(title, _run)
    return found.rename(index=titles, columns=titles)


def near_duplicates(run: Run) -> None:
    """Draw the pairs of near-duplicates side by side; nothing if there are none."""
    count = run.manifest.details.get("nearest_similarity", {}).get("near_duplicates", 0)
    if not count:
        return
    title_ = f"Near-duplicates: {count:,} {'pair' if count == 1 else 'pairs'}"
    folded = st.expander(title_, key="duplicates folded", on_change="rerun")
    if not folded.open:
        return
    pairs = run.near_duplicates.head(_PAIRS)
    ids = list(dict.fromkeys(pairs[["id", "other"]].to_numpy().ravel()))
    with folded:
        frame = session.examples(run).set_index("id", drop=False).loc[ids]
        answer = gallery(
            run, frame, "nearest_similarity", key="duplicates", name="Near-duplicates", layout="strip", size=100
        )
        differing = int((~run.near_duplicates["same_label"]).sum())
        st.caption(
            "Pairs of examples that are nearly identical to the trained network, most similar first. An example has "
            "low information either because it is typical or because it has a duplicate; these have one. "
            f"{differing:,} of the pairs have different {labels.noun(run)}s."
        )
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)
