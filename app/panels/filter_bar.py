"""The filters of Browse, and a summary of the active ones."""

from __future__ import annotations

import functools
from typing import Any

import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.data import filters, session
from samplescope_app.panels import scores
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_ORDERS = {True: "Highest first", False: "Lowest first"}


def draw(run: Run) -> None:
    """Draw the filters."""
    chosen = filters.current(run)
    st.session_state.setdefault(filters.KEYS["score"], chosen.score)
    st.session_state.setdefault(filters.KEYS["descending"], chosen.descending)
    columns = st.columns([4.6, 2.5, 2.2, 2.3, 2.3, 2.3, 1.8, 2.7], vertical_alignment="bottom")
    with columns[0]:
        scores.select(run, filters.KEYS["score"], "Sort by", persist_state="session", on_change=filters.follow_score)
    with columns[1]:
        st.selectbox("Order", list(_ORDERS), format_func=_ORDERS.__getitem__, **_widget("descending"))
    with columns[2]:
        _split(run, chosen)
    if run.values is None:
        columns[3].multiselect("Class", run.class_names, placeholder="all", **_widget("classes"))
        if run.has_predictions:
            columns[4].multiselect("Predicted", run.class_names, placeholder="all", **_widget("predicted"))
    else:
        for column, label, name in ((columns[3], "Value from", "value_low"), (columns[4], "Value to", "value_high")):
            column.number_input(label, value=None, step=labels.step(run), format="%.10g", **_widget(name))
    with columns[5]:
        names = labels.DECISION_NAMES
        st.multiselect(
            "Decision", list(names), format_func=names.__getitem__, placeholder="all", **_widget("decisions")
        )
    with columns[6]:
        st.text_input("ID contains", **_widget("text"))
    with columns[7], st.popover("More filters", width="stretch"):
        _more_filters(run)


def _split(run: Run, chosen: filters.Filters) -> None:
    """Draw the menu of the splits that have the score; what is selected on the map is of training."""
    splits = ["train"] if chosen.selection else session.splits_of(run, chosen.score)
    st.session_state[filters.KEYS["split"]] = chosen.split
    st.selectbox("Split", splits, format_func=split_name, **_widget("split"))


def _more_filters(run: Run) -> None:
    low, high = st.columns(2)
    with low:
        st.number_input("Score from", value=None, format="%.6g", **_widget("low"))
    with high:
        st.number_input("Score to", value=None, format="%.6g", **_widget("high"))
    if run.values is None and run.has_predictions:
        st.toggle("Wrong predictions only", **_widget("wrong_only"))
    if groups := labels.kinds(run):
        title = functools.partial(labels.group_title, run)
        group = st.selectbox("Group", groups, index=None, format_func=title, **_widget("group"))
        if group is not None:
            values = sorted(session.examples(run)[group].unique())
            st.multiselect("Values", values, placeholder="all", **_widget("group_values"))


def _widget(name: str) -> dict[str, Any]:
    return {"key": filters.KEYS[name], "persist_state": "session"}


def summary(run: Run, chosen: filters.Filters, count: int) -> None:
    """Draw the number of examples listed, the less visible filters, and buttons to clear them."""
    total = int((filters.table(run, chosen.split)["split"] == chosen.split).sum())
    held_out = "" if chosen.split == "train" else f"{chosen.split} "
    parts = [f"{count:,} of {total:,} {held_out}examples"]
    for what, low, high, form in (
        ("score", chosen.low, chosen.high, ".3g"),
        (labels.name(run), chosen.value_low, chosen.value_high, ".10g"),
    ):
        if low is not None or high is not None:
            first = "the lowest" if low is None else f"{low:{form}}"
            parts.append(f"{what} from {first} to {'the highest' if high is None else f'{high:{form}}'}")
    if chosen.wrong_only:
        parts.append("wrong predictions only")
    if chosen.group and chosen.group_values:
        parts.append(f"{labels.group_title(run, chosen.group)}: {', '.join(chosen.group_values)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(" · ".join(parts)), width="content")
        if chosen.selection:
            st.button(
                f"{len(chosen.selection):,} selected",
                icon=":material/close:",
                help="Clears the selection and keeps the other filters.",
                on_click=filters.clear_selection,
            )
        if count < total:
            st.button("Clear filters", type="tertiary", icon=":material/close:", on_click=filters.clear)
