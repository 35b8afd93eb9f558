"""The app's script: Streamlit runs it for every page."""

import streamlit as st
from PIL import Image

from samplescope_app.state import PAGES

_TILE, _GAP = 9, 2


def _favicon() -> Image.Image:
    """Nine tiles, one of them a suspect. Drawn here, since an icon by name is fetched from the internet."""
    side = 3 * _TILE + 2 * _GAP
    icon = Image.new("RGBA", (side, side))
    for tile in range(9):
        column, row = tile % 3 * (_TILE + _GAP), tile // 3 * (_TILE + _GAP)
        icon.paste("#D55E00" if tile == 5 else "#0072B2", (column, row, column + _TILE, row + _TILE))
    return icon


st.set_page_config(page_title="SampleScope", page_icon=_favicon(), layout="wide")
page = st.navigation(
    [
        st.Page("pages/home.py", title="SampleScope", default=True, visibility="hidden"),
        st.Page(PAGES["runs"], title="Runs", icon=":material/folder_open:"),
        st.Page(PAGES["overview"], title="Overview", icon=":material/insights:"),
        st.Page(PAGES["browse"], title="Browse", icon=":material/grid_view:"),
        st.Page(PAGES["example"], title="Example", icon=":material/image_search:"),
        st.Page(PAGES["review"], title="Review", icon=":material/rule:"),
    ],
    position="top",
)
page.run()
