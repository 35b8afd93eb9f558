"""Runs: running jobs, and a card for each run in the folder."""

from __future__ import annotations

import streamlit as st

from attribution_core.jobs.jobs import jobs_in
from samplescope_app.data import navigation, run_library
from samplescope_app.panels import run_cards
from samplescope_app.wording.text import plain

_CARDS_A_ROW = 3
_EXPLANATION = (
    "A run is a folder with a dataset, a model trained on it, and the scores of each training example. Open a run, "
    "resume an unfinished one, or start a new one. Folder of runs:"
)


def main() -> None:
    """Draw the page."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Runs", anchor=False, width="stretch")
        if st.button("New run", icon=":material/add:", type="primary"):
            st.switch_page(navigation.PAGES["new"])
    st.caption(f"{_EXPLANATION} {plain(run_library.folder())}")
    entries = run_library.runs()
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
        return
    columns = st.columns(_CARDS_A_ROW, gap="medium")
    for index, entry in enumerate(entries):
        with columns[index % _CARDS_A_ROW], st.container(border=True):
            run_cards.card(entry)


main()
