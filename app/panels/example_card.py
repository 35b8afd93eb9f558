"""One example large, with its facts beside it, and the buttons to step through a list of examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import OnPressed, picture
from samplescope_app.data import navigation
from samplescope_app.panels import decisions, example_facts
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

STEP_KEYS = {"ArrowLeft": "previous", "ArrowRight": "next", "b": "back"}
_SIZE = 250  # pixels; thumbnails have at most 128, so a larger size shows no more detail
_ABOUT_WIDTH = 200  # pixels, of the facts beside the picture
_LONGEST_ID = 30  # characters of a heading


def example(run: Run, row: Row, score: str, act: OnPressed) -> None:
    """Draw an example of any split with its facts and the buttons that decide about it."""
    with st.container(horizontal=True, gap="small"):
        with st.container(width=_SIZE):
            # Examples of all splits share one element: two would both answer keys while one replaces the other.
            keys = decisions.keys(run, row) | STEP_KEYS
            picture(run, row, score, key="example picture", size=_SIZE, keys=keys, on_pressed=act)
        with st.container(width=_ABOUT_WIDTH):
            heading(row["id"])
            with st.container(horizontal=True, gap="xsmall"):
                decisions.split_badge(row)
                decisions.badge(row)
            example_facts.label_lines(run, row)
    decisions.buttons(run, row, "example", act)


def heading(example_id: str) -> None:
    """Draw an id; a long one, such as a path, is shortened in the middle, with all of it as help."""
    if len(example_id) <= _LONGEST_ID:
        st.markdown(f"#### {plain(example_id)}")
    else:
        end = _LONGEST_ID // 2
        st.markdown(f"#### {plain(example_id[:end])}…{plain(example_id[-end:])}", help=plain(example_id))


def around(listed: np.ndarray, row: int) -> dict[str, int]:
    """Return the rows before and after a listed row; at an end of the list, one is missing."""
    position = int(np.flatnonzero(listed == row)[0])
    targets = {"previous": position - 1, "next": position + 1}
    return {action: int(listed[at]) for action, at in targets.items() if 0 <= at < len(listed)}


def navigation_bar(run: Run, row: Row, listed: np.ndarray, act: Callable[[str], None]) -> None:
    """Draw the trail that leads back, and the buttons to the previous and next example."""
    near, position = around(listed, row["row"]), int(np.flatnonzero(listed == row["row"])[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        _trail(run, row)
        st.space("stretch")
        st.caption(f"{position + 1:,} of {len(listed):,}", width="content")
        for action, label, icon in (
            ("previous", "Previous `←`", "chevron_left"),
            ("next", "Next `→`", "chevron_right"),
        ):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"example {action}",
                disabled=action not in near,
                on_click=act,
                args=(action,),
            )


def _trail(run: Run, row: Row) -> None:
    """Draw where the chain of examples began and the examples passed, each a link; the key b follows the last one."""
    stops = navigation.stops(run)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content", key="trail"):
        for number, stop in enumerate(stops):
            first, last = number == 0, number == len(stops) - 1
            st.page_link(
                navigation.PAGES[stop.page],
                label=f"{plain(stop.label)} `b`" if last else plain(stop.label),
                icon=":material/arrow_back:" if first else ":material/chevron_right:",
                query_params=stop.query,
            )
        st.markdown(f":gray[:material/chevron_right:] **{plain(labels.place(row))}**", width="content")


def act(run: Run, steps: dict[str, str], action: str, keys: list[str]) -> None:
    """Answer a key or a button about the examples of some keys; stepping changes the address of the same page."""
    if action in ("previous", "next"):
        if action in steps:
            st.query_params["evaluation" if "evaluation" in st.query_params else "id"] = steps[action]
    elif action == "undo":
        decisions.undo(run, keys[0])
    else:
        decisions.decide(run, action, keys)
