"""A card with the picture of the point under the pointer, and points that the keyboard reaches, on a chart of examples.

Embedding Atlas (0.26, MIT), which has a Streamlit component and draws millions of points, was tried first. Its
component loads DuckDB from cdn.jsdelivr.net: without a network it draws nothing, and with one it tells others that the
app is used. Its package takes 98 MB and needs pandas 3, litellm and sentence-transformers, and a selection comes back
as an SQL predicate. Plotly's scattergl draws the 50,000 points that the map shows.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.store import SplitName

_HTML = """<div class="pointer">
  <div class="ring" hidden></div>
  <div class="card" hidden aria-hidden="true">
    <img alt="" /><span class="text"></span><span class="id"></span><span class="label"></span>
    <span class="predicted"></span>
  </div>
  <div class="said" role="status" aria-live="polite"></div>
</div>"""
_CSS = """.ring, .card { position: fixed; z-index: 1000; pointer-events: none; }
.ring { width: 18px; height: 18px; margin: -11px 0 0 -11px; }
.ring { border: 2px solid var(--st-text-color); border-radius: 50%; }
.card {
  display: grid; gap: 2px; max-width: 168px; padding: 6px; border: 1px solid var(--st-border-color); border-radius: 6px;
  background: var(--st-background-color); color: var(--st-text-color); font: 13px/1.35 var(--st-font);
  overflow-wrap: anywhere;
}
.card[hidden], .ring[hidden], .card img[hidden] { display: none; }
.card img { width: 120px; height: 120px; object-fit: contain; image-rendering: pixelated; justify-self: center; }
.id { opacity: 0.75; }
.label { font-weight: 600; }
.predicted:not(:empty)::before { content: "→ "; }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
"""
_component = st.components.v2.component(
    "samplescope.pointer",
    html=_HTML,
    css=_CSS,
    js=(Path(__file__).parent / "pointer.js").read_text(encoding="utf-8"),
)


def pointer(
    run: Run, layers: Sequence[tuple[SplitName, np.ndarray]], *, place: str, name: str, key: str
) -> tuple[SplitName, int] | None:
    """Add cards and keys to a chart of examples on the same page.

    Args:
        run: The run of the examples.
        layers: For each of the chart's first curves, the table of its examples and their rows, ``[k]``.
        place: Key of the container that holds the chart.
        name: Name of the chart and what its keys do, for screen readers.
        key: Streamlit's key.

    Returns:
        Table and row of the example to open, or None.
    """
    data = {
        "place": place.replace(" ", "-"),
        "name": name,
        "about": f"/api/about/{quote(run.id, safe='')}",
        "layers": [{"table": table, "rows": _encoded(rows)} for table, rows in layers],
    }
    answer = _component(key=key, data=data, on_opened_change=_nothing)
    return (answer.opened["table"], int(answer.opened["row"])) if answer.opened else None


def _encoded(rows: np.ndarray) -> str:
    """Return rows as little-endian whole numbers of 32 bits in base64, which is a third of their decimal digits."""
    return base64.b64encode(rows.astype("<i4").tobytes()).decode("ascii")


def _nothing() -> None:
    """Do nothing: Streamlit reports only values that have a callback."""
