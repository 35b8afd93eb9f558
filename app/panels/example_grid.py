"""The grid of Browse, with its pages and its side panel."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.components.gallery import Answer, gallery, picture
from samplescope_app.data import filters, navigation, reviewing, selection, session
from samplescope_app.panels import decisions, example_facts, filter_bar, scores, selection_bar, what_if
from samplescope_app.wording.text import plain

_TILES = 60
_KEYS = {"d": "drop", "k": "keep", "r": reviewing.ACCEPT, "t": "tag", "u": "undo"}


def draw(run: Run) -> None:
    """Draw the grid and its side panel.

    They are not a fragment, although moving the focus would then redraw less: a fragment's rerun that arrives while
    another page opens would empty that page.
    """
    chosen = filters.current(run)
    listed, score = filters.matching(run, chosen), filters.shown_score(run)
    filter_bar.chips(run, chosen, len(listed))
    if not len(listed):
        st.info("No example passes these filters.", icon=":material/filter_alt_off:")
        selection_bar.draw(run)
        return
    page = _page(chosen, len(listed))
    tiles = filters.table(run, chosen.split).iloc[listed[page * _TILES : (page + 1) * _TILES]]
    question = st.container()  # filled once the selection is known
    grid, panel = st.columns([5, 2], gap="large")
    with grid:
        answer = gallery(
            run,
            tiles,
            score,
            key="browse grid",
            name=f"{split_name(chosen.split).capitalize()} examples",
            keys=_KEYS,
            on_pressed=functools.partial(_act, run),
            selectable=True,
        )
        _pager(page, len(listed))
    with question:
        _what_if(run, chosen, listed, selection.keys(run))
    with panel:
        _side_panel(run, tiles, answer, score)
    selection_bar.draw(run, filters.table(run, chosen.split), listed)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


def _what_if(run: Run, chosen: filters.View, listed: np.ndarray, selected: list[str]) -> None:
    """Ask what a model would be without the selected examples, else without the listed examples if these are a part.

    The switch is always there, since one that appears with a selection would move the tiles from under the pointer.
    """
    if chosen.split != "train":
        return
    rows, what = listed.tolist(), f"the {len(listed):,} listed"
    if not selected and len(listed) >= len(session.examples(run)):
        rows, what = [], "the selected"
    if selected:
        found = session.positions(run, selected)
        rows = found[found < len(run.examples)].tolist()
        what = f"the {len(rows):,} selected"
    what_if.draw(run, rows, "browse", what)


def _act(run: Run, action: str, ids: list[str]) -> None:
    """Answer a key about the selected examples, else about the focused one."""
    selection_bar.act(run, action, selection.keys(run) or ids)


def _page(chosen: filters.View, count: int) -> int:
    """Return the page of tiles to show; changed filters start again at the first."""
    if st.session_state.get("browse filters") != chosen:
        if "browse filters" in st.session_state:
            st.session_state["browse page"] = 0
        st.session_state["browse filters"] = chosen
    last = math.ceil(count / _TILES) - 1
    return min(st.session_state.get("browse page", 0), last)


def _pager(page: int, count: int) -> None:
    last = math.ceil(count / _TILES) - 1
    if last == 0:
        return
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        for label, icon, target in (("First", "first_page", 0), ("Previous", "chevron_left", page - 1)):
            _page_button(label, icon, target, disabled=page == 0)
        st.caption(f"{page * _TILES + 1:,} to {min(count, (page + 1) * _TILES):,} of {count:,}", width="content")
        for label, icon, target in (("Next", "chevron_right", page + 1), ("Last", "last_page", last)):
            _page_button(label, icon, target, disabled=page == last)


def _page_button(label: str, icon: str, target: int, disabled: bool) -> None:
    def turn() -> None:
        st.session_state["browse page"] = target

    st.button(label, icon=f":material/{icon}:", key=f"browse {label}", disabled=disabled, on_click=turn)


def _side_panel(run: Run, tiles: pd.DataFrame, answer: Answer, score: str) -> None:
    """Draw the actions for the selection and the details of the focused tile."""
    shown = answer.focused or (answer.selected[-1] if answer.selected else None)
    if shown is None:
        st.caption(
            "Click a tile to open it. Arrow keys move, **enter** opens, **space** or ctrl-click selects, **d** drops, "
            "**k** keeps, **r** accepts the suggestion, **t** tags, **u** undoes."
        )
        return
    split, example_id = session.split_and_id(shown)
    row = tiles[(tiles["id"] == example_id) & (tiles["split"] == split)].iloc[0].to_dict()
    picture(run, row, score, key="browse picture", size=260)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(row['id'])}**", width="content")
        decisions.badge(row)
    example_facts.label_lines(run, row)
    scores.table(run, row)
    if st.button("Open", icon=":material/open_in_full:"):
        navigation.open_tile(run, shown)
