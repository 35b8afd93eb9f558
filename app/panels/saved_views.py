"""The menu of saved views: filters and an order of Browse, under a name that all reviewers of the run share."""

from __future__ import annotations

import functools
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.saved_views import LONGEST_NAME, SavedView
from samplescope_app.data import filters, reviewing
from samplescope_app.wording.text import plain

_NAME = "name of the view"  # key of the field


def draw(run: Run) -> None:
    """Draw a button that opens the menu, which saves the view of Browse, opens another one and deletes it."""
    popover = st.popover("Views", icon=":material/bookmark:", key="views menu", on_change="rerun")
    if not popover.open:
        return
    with popover:
        views = run.decisions.views.current()
        for view in views:
            _entry(run, view)
        if not views:
            st.caption("No view is saved yet.")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.text_input("Save what is listed now as", key=_NAME, max_chars=LONGEST_NAME, placeholder="Name")
            st.button("Save", icon=":material/bookmark_add:", key="save view", on_click=_save, args=(run,))
        st.caption("The address of the page opens the view, too, in any browser that reaches this server.")


def _entry(run: Run, view: SavedView) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            plain(view.name),
            key=f"view {view.name}",
            type="tertiary",
            width="stretch",
            help=f"Saved by {plain(view.reviewer)}" if view.reviewer else None,
            on_click=functools.partial(_open, run, view),
        )
        st.button(
            "Delete",
            icon=":material/delete:",
            type="tertiary",
            key=f"delete view {view.name}",
            on_click=functools.partial(_delete, run, view.name),
        )


def _open(run: Run, view: SavedView) -> None:
    try:
        filters.show(run, filters.from_address(run, dict(parse_qsl(view.query))))
    except InputError as error:
        st.toast(f"{plain(view.name)} asks for what this run does not have. {plain(error)}", icon=":material/error:")


def _save(run: Run) -> None:
    query = urlencode(filters.address(run, filters.current(run)))
    try:
        run.decisions.views.save(st.session_state[_NAME], query, reviewing.reviewer())
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")
    else:
        st.session_state[_NAME] = ""


def _delete(run: Run, name: str) -> None:
    try:
        run.decisions.views.delete(name, reviewing.reviewer())
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")
