"""The dataset and the model of a run, and what a score means."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain, score_help


def draw(run: Run) -> None:
    """Draw the facts about the dataset and the model."""
    manifest = run.manifest
    st.markdown("**Dataset and model**")
    if manifest.dataset is None:
        st.caption("This run has no description of its dataset.")
        return
    sizes = " · ".join(f"{size:,} {split}" for split, size in manifest.dataset.sizes.items())
    st.markdown(f"{plain(manifest.dataset.name)}: {plain(sizes)}")
    st.markdown(plain(_labels_in_short(run)))
    if run.quality:
        shares = " · ".join(f"{plain(name)} {value:.1%}" for name, value in run.quality.items())
        st.markdown(f"{run.quality_name.capitalize()}: {shares}")
    for name, facts in manifest.details.items():
        if "skipped" in facts and name in run.known_measures:
            st.caption(f"{plain(run.measure(name).title)} skipped: {plain(facts['skipped'])}")
    if manifest.dataset.unreadable:
        count = len(manifest.dataset.unreadable)
        noun = "file" if labels.example_noun(run) == "image" else labels.example_noun(run)
        title = f"{count:,} {noun}{'' if count == 1 else 's'} left out"
        folded = st.expander(title, key="unreadable folded", on_change="rerun")
        if folded.open:
            skipped = pd.DataFrame([entry.model_dump() for entry in manifest.dataset.unreadable])
            folded.dataframe(skipped, hide_index=True)


def _labels_in_short(run: Run) -> str:
    """Return the largest and the smallest class, or the distribution of the values, in a sentence."""
    if run.values is None:
        counts = run.examples["label_name"].value_counts()
        return (
            f"{len(run.class_names)} classes; the largest is {counts.index[0]} with {counts.iloc[0]:,} training "
            f"examples, the smallest {counts.index[-1]} with {counts.iloc[-1]:,}"
        )
    mean, scale = (labels.value_text(run, value) for value in (run.values.mean, run.values.scale))
    spread = labels.value_range(run, run.examples["label"])
    return f"Training examples have {spread}, with a mean of {mean} and a standard deviation (SD) of {scale}"


def meaning(run: Run, score: str) -> None:
    """Draw the definition of a score and how this run computed it."""
    st.markdown(f"**{plain(run.measure(score).title)}: definition**")
    st.markdown(score_help(run.measure(score)))
    known = {name: value for name, value in run.facts(score).items() if value is not None}
    if known:
        st.caption(
            " · ".join(f"{plain(name.replace('_', ' '))}: {plain(_written(value))}" for name, value in known.items())
        )


def _written(value: object) -> str:
    """Return a fact as text: whole numbers in full, other numbers as scores are written, a table in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_written(each)}" for name, each in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        return f"{int(value):,}"
    return format_score(value) if isinstance(value, float) else str(value)
