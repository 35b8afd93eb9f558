"""Acceptance of all suggested labels that are stated with enough probability, in one step."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.evaluation.acceptance import expected_precision
from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.data import reviewing, session
from samplescope_app.panels import decisions
from samplescope_app.wording import labels

_FIRST = 95  # percent, at which the slider stands first
_HELP = (
    "The most is read off the calibration curve of label quality (see Trust). It counts all examples, while these are "
    "the ones whose label says something else. The least takes their labels into account: it supposes that labels were "
    "replaced at random, as many as best explain all given labels."
)


def draw(run: Run) -> None:
    """Draw a button that opens the choice of a probability; nothing where suggestions have none."""
    if run.values is not None or "suggested_confidence" not in run.examples:
        return
    popover = st.popover("Accept in bulk", icon=":material/done_all:", key="bulk", on_change="rerun")
    if popover.open:
        with popover:
            _choice(run)


def _choice(run: Run) -> None:
    percent = st.slider("Least probability of the suggestion", 50, 100, _FIRST, format="%d%%", key="bulk percent")
    frame = session.everything(run)
    chosen = acceptable(run, frame, percent / 100)
    splits = frame["split"][chosen].value_counts()
    listed = ", ".join(f"{count:,} {split_name(str(split))}" for split, count in splits.items())
    st.markdown(f"**{int(chosen.sum()):,} undecided** examples ({listed or 'none'}) would be relabeled as suggested.")
    if chosen.any():
        low, high = _precision(run, frame, chosen)
        st.markdown(f"Expected to be right: **{low:.0%} to {high:.0%}**", help=_HELP)
        if before := _decided_before(frame, percent / 100):
            st.caption(before)
    st.button(
        f"Accept {int(chosen.sum()):,}",
        type="primary",
        key="accept in bulk",
        disabled=not chosen.any(),
        on_click=functools.partial(_accept, run, chosen),
    )
    st.caption("Undo takes all of it back in one step.")


def acceptable(run: Run, frame: pd.DataFrame, least: float) -> np.ndarray:
    """Return which examples are undecided and have a suggestion with at least some probability, bool ``[n]``.

    Args:
        run: A run with label quality of classes.
        frame: ``session.everything(run)``.
        least: The probability.
    """
    stated = frame["suggested_confidence"].to_numpy(dtype="float64") >= least
    return stated & (frame["action"] == "").to_numpy() & ~np.isnan(labels.suggestions(run, frame))


def _precision(run: Run, frame: pd.DataFrame, chosen: np.ndarray) -> tuple[float, float]:
    """Return the least and the most that can be expected, over the training and the other examples, each by itself."""
    of_training = (frame["split"] == "train").to_numpy()
    parts, counts = [], []
    for part in (of_training, ~of_training):
        if (chosen & part).any():
            parts.append(expected_precision(frame[part], chosen[part], len(run.class_names)))
            counts.append(int((chosen & part).sum()))
    low, high = np.average(np.array(parts), axis=0, weights=counts)
    return float(low), float(high)


def _decided_before(frame: pd.DataFrame, least: float) -> str:
    """Return in a sentence how many such suggestions were accepted when somebody looked; empty if none was."""
    stated = frame["suggested_confidence"].to_numpy(dtype="float64") >= least
    seen = frame[stated & (frame["action"] != "").to_numpy() & (frame["suggested_label"] != frame["label"]).to_numpy()]
    if seen.empty:
        return ""
    same = (seen["action"] == "relabel") & (seen["new_label_name"] == seen["suggested_name"])
    return f"Decided about before: {len(seen):,}, of which {int(same.sum()):,} got the suggested label."


def _accept(run: Run, chosen: np.ndarray) -> None:
    keys = session.keys(session.everything(run)[chosen])
    count = decisions.decide(run, reviewing.ACCEPT, keys)
    if count:
        st.toast(f"Relabeled {count:,} examples.", icon=":material/done_all:")
