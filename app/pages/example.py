"""Example: one training image, its scores, and the decision about it."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import parts, state
from samplescope_app.components.gallery import OnPressed, picture
from samplescope_app.text import plain

_STEP_KEYS = {"ArrowLeft": "previous", "ArrowRight": "next", "b": "back"}


def main() -> None:
    """The page."""
    run = state.scored_run()
    chosen = state.filters(run)
    listed = state.matching(run, chosen)
    frame = state.examples(run)
    example_id = st.query_params.get("id") or (listed["id"].iloc[0] if len(listed) else frame["id"].iloc[0])
    st.query_params["id"] = example_id
    found = frame[frame["id"] == example_id]
    if found.empty:
        st.info(f"This run has no training example {plain(example_id)}.", icon=":material/search_off:")
        st.page_link(state.PAGES["browse"], label="Browse", icon=":material/grid_view:")
        return
    row = found.iloc[0].to_dict()
    if row["row"] not in listed["row"].to_numpy():
        # A deep link, or a decision that the filters now hide: step through all examples instead.
        listed = state.ranked(frame, chosen.score, chosen.descending)
    _draw(run, row, listed, chosen.score)


def _draw(run: Run, row: dict[str, Any], listed: pd.DataFrame, score: str) -> None:
    act = functools.partial(_act, run, listed["id"])
    _navigation(run, row, listed["id"], act)
    image, about = st.columns([5, 6], gap="large")
    with image:
        keys = parts.decision_keys(run, row) | _STEP_KEYS
        picture(run, row, score, key="example picture", size=560, keys=keys, on_pressed=act)
    with about:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(plain(row["id"]), anchor=False, width="content")
            parts.decision_badge(row)
        parts.label_lines(run, row)
        parts.score_table(run, row)
        parts.decision_buttons(run, row, "example", act)
    parts.typical_strips(run, row, score, "example")


def _navigation(run: Run, row: dict[str, Any], listed: pd.Series, act: OnPressed) -> None:
    position, total = _position(listed, row["id"]), len(listed)
    with st.container(horizontal=True, vertical_alignment="center"):
        back = st.button("Back to grid `b`", icon=":material/grid_view:", type="tertiary")
        st.space("stretch")
        st.caption(f"#{row['row']} · {position + 1:,} of {total:,}", width="content")
        for action, label, icon, end in (
            ("previous", "Previous `←`", "chevron_left", 0),
            ("next", "Next `→`", "chevron_right", total - 1),
        ):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"example {action}",
                disabled=position == end,
                on_click=act,
                args=(action, [row["id"]]),
            )
    # A callback can't leave the page, so the key for it is only noted there.
    if st.session_state.pop("leave example", False) or back:
        state.go("browse", run)


def _act(run: Run, listed: pd.Series, action: str, ids: list[str]) -> None:
    """Answers a key or a button; to step is to change the address of this same page."""
    if action == "back":
        st.session_state["leave example"] = True
    elif action in ("previous", "next"):
        target = _position(listed, ids[0]) + (1 if action == "next" else -1)
        st.query_params["id"] = listed.iloc[min(max(target, 0), len(listed) - 1)]
    elif action == "undo":
        state.undo(run, ids[0])
    else:
        parts.decide(run, action, ids)


def _position(listed: pd.Series, example_id: str) -> int:
    return int((listed == example_id).to_numpy().argmax())


main()
