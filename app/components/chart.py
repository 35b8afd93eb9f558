"""Drawing figures, and saving them: every chart of the app goes through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

_FORMAT = "figure format"  # of the session
_FORMATS = {"png": "PNG", "svg": "SVG"}


def chart(figure: go.Figure, *, key: str, alt: str, tools: Sequence[str] = (), **options: Any) -> Any:
    """Draws a figure whose toolbar saves it, as the session's format.

    Args:
        figure: The figure.
        key: Streamlit's key, and the name of the saved file.
        alt: What it shows, for a screen reader.
        tools: Buttons of Plotly's for choosing points and moving about, such as ``lasso2d``; with some, the toolbar
            always shows, and the wheel zooms.
        **options: Of ``st.plotly_chart``, such as ``on_select``.

    Returns:
        What ``st.plotly_chart`` returns.
    """
    config = {
        "displaylogo": False,
        "displayModeBar": True if tools else "hover",
        "scrollZoom": bool(tools),
        "modeBarButtons": [[*tools], ["toImage"]] if tools else [["toImage"]],
        "toImageButtonOptions": {
            "format": st.session_state.get(_FORMAT, "png"),
            "filename": key.replace(" ", "-"),
            "scale": 2,
        },
    }
    return st.plotly_chart(figure, key=key, config=config, alt=alt, **options)


def format_select() -> None:
    """How figures and tables are saved, behind one button."""
    with st.popover("Save", icon=":material/download:", type="tertiary"):
        st.segmented_control(
            "Figures are saved as",
            list(_FORMATS),
            format_func=_FORMATS.get,
            default="png",
            required=True,
            key=_FORMAT,
            persist_state="session",
        )
        st.caption(
            "Point at a figure and press its camera. A table has a button of its own, at its upper right, for CSV."
        )
