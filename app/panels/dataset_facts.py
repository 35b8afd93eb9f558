"""The dataset and the model of a run, and what a score means."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain, score_help


def draw(run: Run) -> None:
    manifest = run.manifest
    st.markdown("**Dataset and model**")
    if manifest.dataset is None:
        st.caption("This run does not describe its dataset.")
        return
    sizes = " · ".join(f"{size:,} {split}" for split, size in manifest.dataset.sizes.items())
    st.markdown(f"{plain(manifest.dataset.name)}: {plain(sizes)}")
    st.markdown(plain(_labels_in_short(run)))
    if run.quality:
        shares = " · ".join(f"{plain(name)} {value:.1%}" for name, value in run.quality.items())
        st.markdown(f"{run.quality_name.capitalize()}: {shares}")
    for name, facts in manifest.details.items():
        if "skipped" in facts and name in run.known_measures:
            st.caption(f"Without {plain(run.measure(name).title.lower())}: {plain(facts['skipped'])}")
    if manifest.dataset.unreadable:
        count = len(manifest.dataset.unreadable)
        what = labels.example_noun(run)
        title = f"{count:,} unreadable {f'{what} was' if count == 1 else f'{what}s were'} left out"
        folded = st.expander(title, key="unreadable folded", on_change="rerun")
        if folded.open:
            lost = pd.DataFrame([entry.model_dump() for entry in manifest.dataset.unreadable])
            folded.dataframe(lost, hide_index=True)


def _labels_in_short(run: Run) -> str:
    """The largest and the smallest class, or how the values are spread, in a sentence."""
    if run.values is None:
        counts = run.examples["label_name"].value_counts()
        return (
            f"{len(run.class_names)} classes; the largest is {counts.index[0]} with {counts.iloc[0]:,} training "
            f"examples, the smallest {counts.index[-1]} with {counts.iloc[-1]:,}"
        )
    mean, scale = (labels.value_text(run, value) for value in (run.values.mean, run.values.scale))
    spread = labels.value_range(run, run.examples["label"])
    return f"Training examples have {spread}, {mean} on average, with a standard deviation (SD) of {scale}"


def meaning(run: Run, score: str) -> None:
    """What the score means, and how this run came by it."""
    st.markdown(f"**What {plain(run.measure(score).title.lower())} means**")
    st.markdown(score_help(run.measure(score)))
    details = run.facts(score)
    if details:
        shown = {name: format_score(value) if isinstance(value, float) else value for name, value in details.items()}
        st.caption(" · ".join(f"{plain(name.replace('_', ' '))}: {plain(value)}" for name, value in shown.items()))
