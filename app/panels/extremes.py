"""Strips of the examples with the highest and the lowest scores."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.data import filters, navigation, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_TILES = 24


def draw(run: Run, score: str) -> None:
    """Draw strips of the extremes of a score and of the suspects; opening a tile makes Browse use that order.

    The score that ranks suspects begins with them.
    """
    measure = run.measure(score)
    if measure.kind == "informativeness":
        highest, lowest = "Most informative", "Least informative"
    else:
        highest, lowest = (f"{end} {measure.title_in_sentence}" for end in ("Highest", "Lowest"))
    ends = {True: highest, False: lowest}
    suspects = labels.suspect_ranking(run)
    if suspects is not None and score == suspects.score:
        _strip(run, suspects.title, score, suspects.descending)
        _strip(run, ends[not suspects.descending], score, not suspects.descending)
        return
    _strip(run, highest, score, True)
    _strip(run, lowest, score, False)
    if suspects is not None:
        _strip(run, suspects.title, suspects.score, suspects.descending)


def _strip(run: Run, title: str, score: str, descending: bool) -> None:
    view = filters.sorted_by(run, score, descending)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{plain(title)}**", width="stretch")
        if st.button("See all", key=f"all {score} {descending}", type="tertiary", icon=":material/arrow_forward:"):
            navigation.browse(run, view)
    ranked = session.ranked(session.examples(run), score, descending, most=_TILES)
    key = f"strip {score} {descending}"
    answer = gallery(run, ranked, score, key=key, name=title, layout="strip", size=100, view=view)
    if answer.opened is not None:
        filters.show(run, view)
        navigation.open_tile(run, answer.opened)
