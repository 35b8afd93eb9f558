"""Where Streamlit goes for an address that is no page: on to the list of runs.

A default page has no working address of its own in Streamlit, so none of the real pages is the default. The address "/"
itself is a redirect, see routes.py.
"""

import streamlit as st

from samplescope_app.data.navigation import PAGES

st.switch_page(PAGES["runs"])
