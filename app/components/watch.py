"""A component without looks that has the page drawn anew when another reviewer has decided something."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import streamlit as st

from attribution_core.runs import Run

_component = st.components.v2.component(
    "samplescope.watch",
    html="<span hidden></span>\n",
    js=(Path(__file__).parent / "watch.js").read_text(encoding="utf-8"),
)


def watch(run: Run) -> None:
    """Draw the page anew soon after the decisions, tags or notes of the run change elsewhere."""
    data = {"address": f"/api/review/{quote(run.id, safe='')}", "version": run.decisions.version()}
    _component(key="watch", data=data, width=1, height=1, on_version_change=_nothing)


def _nothing() -> None:
    """Do nothing: Streamlit reports only values that have a callback."""
