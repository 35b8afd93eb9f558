"""The address without a page: goes on to the run the server was given, or to the list of runs.

A default page has no address of its own in Streamlit, so none of the real pages is the default.
"""

import streamlit as st
from samplescope_app import served
from samplescope_app.state import PAGES

run_id = st.query_params.get("run") or served.first_run()
if run_id is None:
    st.switch_page(PAGES["runs"])
st.switch_page(PAGES["overview"], query_params={"run": run_id})
