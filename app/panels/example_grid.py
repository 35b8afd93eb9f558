"""The grid of Browse, with its pages, the size of its tiles and its drawer."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.components.gallery import gallery
from samplescope_app.data import filters, navigation, reviewing, selection, session
from samplescope_app.panels import drawer, filter_bar, selection_bar

_KEYS = {
    "d": "drop",
    "k": "keep",
    "r": reviewing.ACCEPT,
    "t": "tag",
    "v": selection_bar.BESIDE,
    "u": "undo",
    "i": drawer.TOGGLE,
    "Escape": drawer.CLOSE,
}


@dataclass(frozen=True)
class _Size:
    """A size of the tiles: their least width in pixels, and how many a page has."""

    width: int
    count: int


_SIZES = {"S": _Size(76, 120), "M": _Size(104, 60), "L": _Size(168, 60)}
_WORDS_WIDER = 1.6  # a text needs more room than a picture
# Little height between the filters and the tiles, so that more of these are on the first screen. The area of the tiles
# would scroll by itself, by the few pixels of a focus ring, and swallow the first turn of the wheel.
_STYLE = f"""<style>
.st-key-{drawer.AREA} {{ overflow: visible !important; }}
.st-key-browse_row {{ margin-block: -0.75rem; }}
.st-key-browse_row button {{ min-height: 1.75rem; padding-block: 0; }}
</style>"""


def draw(run: Run) -> None:
    """Draw the grid, and the drawer about one of its tiles.

    They are not a fragment, although moving the focus would then redraw less: a fragment's rerun that arrives while
    another page opens would empty that page.
    """
    chosen = filters.current(run)
    listed, score = filters.matching(run, chosen), filters.shown_score(run)
    st.html(_STYLE)
    with st.container(horizontal=True, vertical_alignment="center", key="browse_row"):
        with st.container(width="stretch"):
            filter_bar.chips(run, chosen, len(listed))
        details = st.container(width="content")  # filled once it is known which tile has the focus
        size = _size(run)
    if not len(listed):
        st.info("No example passes these filters.", icon=":material/filter_alt_off:")
        selection_bar.draw(run)
        return
    page = _page(chosen, len(listed), size.count)
    tiles = filters.table(run, chosen.split).iloc[listed[page * size.count : (page + 1) * size.count]]
    act = functools.partial(_act, run)
    with st.container(horizontal=True, wrap=False, key=drawer.AREA, gap="medium"):
        with st.container():
            answer = gallery(
                run,
                tiles,
                score,
                key="browse grid",
                name=f"{split_name(chosen.split).capitalize()} examples",
                size=size.width,
                keys=_KEYS,
                on_pressed=act,
                selectable=True,
                returns=drawer.returns(),
            )
            _pager(page, len(listed), size.count)
        shown = answer.focused or (answer.selected[-1] if answer.selected else None)
        if drawer.is_open(shown, answer.by_keys) and shown is not None:
            split, example_id = session.split_and_id(shown)
            row = tiles[(tiles["id"] == example_id) & (tiles["split"] == split)].iloc[0].to_dict()
            drawer.draw(run, row, score, act)
    with details:
        drawer.button(shown)
    selection_bar.draw(run, filters.table(run, chosen.split), listed)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


def _size(run: Run) -> _Size:
    """Draw the choice of the tiles' size and return the chosen one."""
    name = st.segmented_control(
        "Tile size",
        list(_SIZES),
        default="M",
        required=True,
        key="tile size",
        label_visibility="collapsed",
        persist_state="session",
    )
    size = _SIZES[name]
    return replace(size, width=round(size.width * _WORDS_WIDER)) if "text" in run.examples else size


def _act(run: Run, action: str, ids: list[str]) -> None:
    """Answer a key about the selected examples, else about the focused one."""
    if action in (drawer.TOGGLE, drawer.CLOSE):
        drawer.act(action)
    else:
        selection_bar.act(run, action, selection.keys(run) or ids)


def _page(chosen: filters.View, count: int, on_page: int) -> int:
    """Return the page of tiles to show; changed filters start again at the first."""
    if st.session_state.get("browse filters") != chosen:
        if "browse filters" in st.session_state:
            st.session_state["browse page"] = 0
        st.session_state["browse filters"] = chosen
    last = math.ceil(count / on_page) - 1
    return min(st.session_state.get("browse page", 0), last)


def _pager(page: int, count: int, on_page: int) -> None:
    last = math.ceil(count / on_page) - 1
    if last == 0:
        return
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        for label, icon, target in (("First", "first_page", 0), ("Previous", "chevron_left", page - 1)):
            _page_button(label, icon, target, disabled=page == 0)
        st.caption(f"{page * on_page + 1:,} to {min(count, (page + 1) * on_page):,} of {count:,}", width="content")
        for label, icon, target in (("Next", "chevron_right", page + 1), ("Last", "last_page", last)):
            _page_button(label, icon, target, disabled=page == last)


def _page_button(label: str, icon: str, target: int, disabled: bool) -> None:
    def turn() -> None:
        st.session_state["browse page"] = target

    st.button(label, icon=f":material/{icon}:", key=f"browse {label}", disabled=disabled, on_click=turn)
