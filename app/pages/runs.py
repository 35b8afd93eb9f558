"""Runs: running jobs, and a card for each run in the folder."""

from __future__ import annotations

import streamlit as st

from attribution_core.jobs.jobs import jobs_in
from samplescope_app.data import navigation, run_library
from samplescope_app.panels import run_cards
from samplescope_app.wording.text import plain

_CARDS_A_ROW = 3
_SEARCH = "runs search"  # session key
_EXPLANATION = (
    "A run is a folder with a dataset, a model trained on it, and the scores of each training example. Open a run, "
    "resume an unfinished one, or start a new one. Folder of runs:"
)


def main() -> None:
    """Draw the page."""
    entries = run_library.runs()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Runs", anchor=False, width="stretch")
        words = ""
        if len(entries) > 1 or st.session_state.get(_SEARCH):
            words = st.text_input(
                "Search",
                key=_SEARCH,
                placeholder="Search titles, notes, data and models",
                label_visibility="collapsed",
                icon=":material/search:",
                width=320,
            )
        if st.button("New run", icon=":material/add:", type="primary"):
            st.switch_page(navigation.PAGES["new"])
    st.caption(f"{_EXPLANATION} {plain(run_library.folder())}")
    run_cards.just_deleted()
    jobs = jobs_in(run_library.folder())
    run_cards.running(jobs)
    run_cards.without_a_run(jobs, {entry.id for entry in entries})
    if not entries:
        if not jobs:
            st.info(
                "There are no runs in this folder yet. Start one with New run, or in a terminal:",
                icon=":material/folder_open:",
            )
            st.code(f"samplescope score DATA --out {run_library.folder() / 'my-run'}", language="bash")
        run_cards.trash()
        return
    shown = [entry for entry in entries if run_cards.found_by(words, entry)]
    if not shown:
        st.info("No run contains all of these words.", icon=":material/search_off:")
    columns = st.columns(_CARDS_A_ROW, gap="medium")
    for index, entry in enumerate(shown):
        with columns[index % _CARDS_A_ROW], st.container(border=True):
            run_cards.card(entry)
    run_cards.trash()


main()
