"""Home: Streamlit's default page, which unknown addresses open. It switches to the list of runs.

The default page has no working address in Streamlit, so none of the real pages is the default. The address "/" itself
is a redirect in routes.py.
"""

import streamlit as st

from samplescope_app.data.navigation import PAGES

st.switch_page(PAGES["runs"])
