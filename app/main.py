"""The app's script: Streamlit runs it for every page."""

import streamlit as st
from PIL import Image

from samplescope_app.data import trail
from samplescope_app.data.navigation import PAGES

_TILE, _GAP = 9, 2
_ICONS = {
    "runs": "folder_open",
    "overview": "insights",
    "browse": "grid_view",
    "example": "image_search",
    "map": "scatter_plot",
    "classes": "grid_on",
    "training": "timeline",
    "summarize": "content_cut",
    "review": "rule",
    "trust": "verified",
    "compare": "compare_arrows",
}


def _favicon() -> Image.Image:
    """Draw nine tiles, one of them a suspect; an icon by name would be fetched from the internet."""
    side = 3 * _TILE + 2 * _GAP
    icon = Image.new("RGBA", (side, side))
    for tile in range(9):
        column, row = tile % 3 * (_TILE + _GAP), tile // 3 * (_TILE + _GAP)
        icon.paste("#D55E00" if tile == 5 else "#0072B2", (column, row, column + _TILE, row + _TILE))
    return icon


# White text, Streamlit's default, is unreadable on the light primary color of the dark theme. Pictures need the width
# that Streamlit leaves empty at the sides.
_STYLE = """<style>
[data-testid="stButtonGroup"] [role="radiogroup"] { flex-wrap: wrap; }
dialog.keys { padding: 1.5rem; border: 1px solid gray; border-radius: 0.5rem; background: Canvas; color: CanvasText; }
dialog.keys h2 { margin: 0 0 0.5rem; padding: 0; font-size: 1.25rem; }
dialog.keys td { padding: 0.25rem 1.5rem 0.25rem 0; }
aside.hint {
  position: fixed; left: 1rem; bottom: 1rem; z-index: 80; max-width: 20rem; padding: 0.75rem 1rem;
  border: 1px solid gray; border-radius: 0.5rem; background: Canvas; color: CanvasText; font-size: 0.875rem;
  pointer-events: none;
}
aside.hint p { margin: 0 0 0.5rem; }
aside.hint button { pointer-events: auto; }
button[kind="primary"] { color: light-dark(#ffffff, #0a0a0a); }
[data-testid="stMainBlockContainer"] { padding-inline: clamp(1rem, 2.5vw, 3rem); }
</style>"""

st.set_page_config(page_title="SampleScope", page_icon=_favicon(), layout="wide")
st.html(_STYLE)
page = st.navigation(
    [
        st.Page("pages/home.py", title="SampleScope", default=True, visibility="hidden"),
        *(st.Page(PAGES[name], title=name.capitalize(), icon=f":material/{icon}:") for name, icon in _ICONS.items()),
        st.Page(PAGES["new"], title="New run", visibility="hidden"),
    ],
    position="top",
)
trail.arrive(page.url_path)
page.run()
