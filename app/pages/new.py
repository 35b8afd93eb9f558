"""New run: not built yet."""

from __future__ import annotations

import streamlit as st


def main() -> None:
    """The page."""
    st.subheader("New run", anchor=False)


main()
