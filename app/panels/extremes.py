"""Strips of the examples at the ends of a score."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.data import filters, navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_TILES = 24


def draw(run: Run, score: str) -> None:
    """Three strips of tiles; opening one makes Browse follow its order."""
    measure = run.measure(score)
    word = "informative" if measure.kind == "informativeness" else f"by {measure.title.lower()}"
    _strip(run, f"Most {word}" if word == "informative" else f"Highest {word}", score, True)
    _strip(run, f"Least {word}" if word == "informative" else f"Lowest {word}", score, False)
    doubtful = labels.doubtful(run)
    if doubtful is not None and score != doubtful.score:
        _strip(run, doubtful.title, doubtful.score, doubtful.descending)


def _strip(run: Run, title: str, score: str, descending: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{plain(title)}**", width="stretch")
        if st.button("See all", key=f"all {score} {descending}", type="tertiary", icon=":material/arrow_forward:"):
            filters.replace(score=score, descending=descending)
            navigation.go("browse", run)
    ranked = session.ranked(session.examples(run), score, descending).head(_TILES)
    answer = gallery(run, ranked, score, key=f"strip {score} {descending}", name=title, layout="strip", size=100)
    if answer.opened is not None:
        filters.replace(score=score, descending=descending)
        navigation.open_example(run, answer.opened)
