"""Runs: a card for each run in the folder."""

from __future__ import annotations

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import MEASURES, Run, RunSummary
from samplescope_app import parts, served, state
from samplescope_app.components.gallery import mosaic
from samplescope_app.text import plain

_CARDS_A_ROW = 3
_MOSAIC = 16
_STATUS = {
    "complete": ("complete", ":material/check:", "green"),
    "running": ("being scored", ":material/progress_activity:", "blue"),
    "failed": ("failed", ":material/error:", "red"),
    "incomplete": ("cut off", ":material/warning:", "orange"),
}


def main() -> None:
    """The page."""
    st.subheader("Runs", anchor=False)
    st.caption(plain(served.folder()))
    entries = served.runs()
    if not entries:
        st.info("There are no runs in this folder yet. Score a dataset to make one:", icon=":material/folder_open:")
        st.code(f"samplescope score DATA --model lenet5 --out {served.folder() / 'my-run'}", language="bash")
        return
    columns = st.columns(_CARDS_A_ROW, gap="medium")
    for index, entry in enumerate(entries):
        with columns[index % _CARDS_A_ROW], st.container(border=True):
            _card(entry)


def _card(entry: RunSummary) -> None:
    if entry.run is None:
        st.markdown(f"**{plain(entry.id)}**")
        st.badge("damaged", icon=":material/broken_image:", color="red")
        st.caption(plain(entry.problem))
        return
    run = entry.run
    opened = _mosaic(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(run.title)}**", width="stretch")
        label, icon, color = _STATUS[run.status]
        st.badge(label, icon=icon, color=color)
    st.caption(plain(parts.facts(run)))
    st.caption(plain(_progress(run)))
    if st.button("Open", key=f"open {run.id}", type="primary", disabled=not run.has_examples) or opened:
        state.go("overview", run)


def _mosaic(run: Run) -> bool:
    """A few images spread over the training set; whether they were clicked."""
    if not run.has_examples:
        return False
    try:
        run.thumbnail("train", 0)
    except InputError:
        st.caption("No pictures yet.")
        return False
    rows = np.linspace(0, len(run.examples) - 1, _MOSAIC).astype(int)
    return mosaic(run, rows.tolist(), key=f"mosaic {run.id}").opened is not None


def _progress(run: Run) -> str:
    """The measures of a whole run, else how far it came."""
    if run.status == "complete":
        titles = [MEASURES[name].title for name in run.manifest.measures if name in MEASURES]
        return f"Scores: {', '.join(titles)}"
    failed = [
        f"{name} failed: {stage.message}" for name, stage in run.manifest.stages.items() if stage.status == "failed"
    ]
    done = [name for name, stage in run.manifest.stages.items() if stage.status == "done"]
    return "; ".join([f"Finished stages: {', '.join(done) or 'none'}", *failed])


main()
