"""The examples on both sides of the cut of Summarize."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.components.table import height_of
from samplescope_app.data import navigation, review_queue, session
from samplescope_app.panels import decisions
from samplescope_app.panels.summary import Cut

_TILES = 30


def draw(run: Run, cut: Cut) -> None:
    """Draw the examples on both sides of the cut, their classes, and the actions for those below it."""
    going = cut.order[: cut.count]
    if not cut.count:
        st.info("The cut removes nothing. Move it to keep less.", icon=":material/info:")
        return
    frame = session.examples(run)
    table, pictures = st.columns([2, 5], gap="large")
    with table:
        st.markdown(f"**{cut.count:,} to remove**")
        st.dataframe(
            _by_stratum(run, frame, going),
            hide_index=True,
            height=min(420, height_of(len(run.strata_names))),
            column_config={"Share": st.column_config.NumberColumn(format="percent")},
            alt=f"Number of examples to remove from each {'class' if run.values is None else 'range of values'}",
        )
        _actions(run, frame, cut, going)
    with pictures:
        _strip(run, frame, "First to be removed", cut.order[: min(_TILES, cut.count)], cut.score)
        _strip(run, frame, "Last to be removed, just below the cut", going[::-1][:_TILES], cut.score)
        _strip(run, frame, "First to be kept, just above the cut", cut.order[cut.count :][:_TILES], cut.score)


def _by_stratum(run: Run, frame: pd.DataFrame, going: np.ndarray) -> pd.DataFrame:
    """Return the number of examples to remove from each class, or from each range of values."""
    strata, title = run.strata(frame), "Class" if run.values is None else f"Range of {run.values.name}"
    all_of, gone = (np.bincount(members, minlength=len(run.strata_names)) for members in (strata, strata[going]))
    table = pd.DataFrame(
        {title: run.strata_names, "Removed": gone, "Of": all_of, "Share": (gone / np.maximum(all_of, 1)).round(3)},
    )
    return table.sort_values("Share", ascending=False, kind="stable")


def _actions(run: Run, frame: pd.DataFrame, cut: Cut, going: np.ndarray) -> None:
    rows = frame.iloc[going]
    undecided = [session.key(row) for row in rows[rows["action"] == ""].to_dict("records")]
    with st.container(horizontal=True):
        if st.button("Review", icon=":material/rule:", help="Review them one by one, those nearest to the cut first"):
            review_queue.hand_over(run, "Summarize", cut.score, going[::-1].tolist())
        if st.button(f"Drop all {len(undecided):,}", icon=":material/close:", disabled=not undecided):
            _confirm_drop(run, undecided, len(rows))
        st.button("Undo", icon=":material/undo:", type="tertiary", on_click=decisions.undo, args=(run,))
    if len(undecided) < len(rows):
        decided = len(rows) - len(undecided)
        st.caption(
            f"{decided:,} already {'has a decision' if decided == 1 else 'have decisions'}, which Drop all keeps."
        )


@st.dialog("Drop these examples?")
def _confirm_drop(run: Run, keys: list[str], going: int) -> None:
    kept = f" Earlier decisions about {going - len(keys):,} others stay." if going > len(keys) else ""
    st.markdown(
        f"**{len(keys):,} training examples** are marked as dropped in one step, which Undo reverts.{kept} The "
        "dataset itself does not change: an export applies the decisions."
    )
    if st.button(f"Drop {len(keys):,}", type="primary", icon=":material/close:"):
        decisions.decide(run, "drop", keys)
        st.rerun()


def _strip(run: Run, frame: pd.DataFrame, title: str, rows: np.ndarray, score: str) -> None:
    if not len(rows):
        return
    st.markdown(f"**{title}**")
    answer = gallery(run, frame.iloc[rows], score, key=f"summary {title}", name=title, layout="strip", size=84)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)
