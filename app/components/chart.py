"""Charts: every figure of the app is drawn, and can be saved, through this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

_FORMAT = "figure format"  # session key
_FORMATS = {"png": "PNG", "svg": "SVG"}


def chart(figure: go.Figure, *, key: str, alt: str, tools: Sequence[str] = (), **options: Any) -> Any:
    """Draw a figure with a toolbar that saves it in the session's format.

    Args:
        figure: The figure.
        key: Streamlit's key, and the name of the saved file.
        alt: Description of the figure for screen readers.
        tools: Plotly's buttons for selecting and panning, such as ``lasso2d``; with any, the toolbar is always visible
            and the mouse wheel zooms.
        **options: Options of ``st.plotly_chart``, such as ``on_select``.

    Returns:
        The return value of ``st.plotly_chart``.
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
    """Draw the button that explains how to save figures and tables, and chooses the format."""
    with st.popover("Save figures", icon=":material/download:", type="tertiary"):
        st.segmented_control(
            "Format of figures",
            list(_FORMATS),
            format_func=_FORMATS.__getitem__,
            default="png",
            required=True,
            key=_FORMAT,
            persist_state="session",
        )
        st.caption(
            "To save a figure, point at it and click the camera. To save a table as CSV, use the button at its upper "
            "right."
        )
