"""Example: one training image, its scores, and the decision about it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from samplescope_app import parts, state
from samplescope_app.components.gallery import picture
from samplescope_app.text import plain

from attribution_core.runs import Run

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
    position = int((listed["row"].to_numpy() == row["row"]).argmax())
    step = _navigation(row, position, len(listed))
    image, about = st.columns([5, 6], gap="large")
    with image:
        keys = parts.decision_keys(run, row) | _STEP_KEYS
        pressed = picture(run, row, score, key=f"picture {row['id']}", size=560, keys=keys)
    with about:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(plain(row["id"]), anchor=False, width="content")
            parts.decision_badge(row)
        parts.label_lines(run, row)
        parts.score_table(run, row)
        clicked = parts.decision_buttons(run, row, "example")
    parts.typical_strips(run, row, score, "example")
    action = step or clicked or pressed.action
    if action in ("previous", "next", "back"):
        _step(run, listed, position, action)
    elif action is not None:
        parts.apply(run, row, action)
        st.rerun()


def _navigation(row: dict[str, Any], position: int, total: int) -> str | None:
    with st.container(horizontal=True, vertical_alignment="center"):
        back = st.button("Back to grid `b`", icon=":material/grid_view:", type="tertiary")
        st.space("stretch")
        st.caption(f"#{row['row']} · {position + 1:,} of {total:,}", width="content")
        previous = st.button("Previous `←`", icon=":material/chevron_left:", disabled=position == 0)
        following = st.button("Next `→`", icon=":material/chevron_right:", disabled=position == total - 1)
    return "back" if back else "previous" if previous else "next" if following else None


def _step(run: Run, listed: pd.DataFrame, position: int, action: str) -> None:
    if action == "back":
        state.go("browse", run)
    target = position + (1 if action == "next" else -1)
    if 0 <= target < len(listed):
        state.open_example(run, listed["id"].iloc[target])


main()
