"""The setting for the reviewer's name."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import reviewing
from samplescope_app.wording.text import plain

_FIELD = "reviewer's name"  # key of the widget


def setting(run: Run) -> None:
    """Draw a button with the name that this session's decisions get, which opens a menu to change it."""
    name = reviewing.reviewer()
    label = plain(name) if name else "Your name"
    popover = st.popover(label, icon=":material/person:", type="tertiary", key="reviewer menu", on_change="rerun")
    if not popover.open:
        return
    with popover:
        known = dict.fromkeys([*([name] if name else []), *run.decisions.history.reviewers()])
        if st.session_state.get(_FIELD) != (name or None):
            st.session_state[_FIELD] = name or None
        st.selectbox(
            "Your name",
            list(known),
            placeholder="Choose or write a name",
            accept_new_options=True,
            key=_FIELD,
            on_change=_changed,
        )
        st.caption("It stands beside your decisions, tags and notes in this run and its exports. It may be empty.")


def _changed() -> None:
    reviewing.set_reviewer(st.session_state[_FIELD])
