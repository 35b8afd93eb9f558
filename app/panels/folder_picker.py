"""A dialog in which a user picks a folder of the machine that the app runs on."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.folders import folders_in, what_it_holds
from samplescope_app.data import run_library
from samplescope_app.wording.text import plain

_AT = "folder shown"  # session key of the folder that the dialog shows
_MOST = 200  # folders shown at once
_HEIGHT = 380


def button(key: str) -> None:
    """Draw the button that opens the dialog.

    Args:
        key: Session key of the text field that receives the path of the chosen folder.
    """
    if st.button("Choose folder", icon=":material/folder_open:"):
        st.session_state[_AT] = _beginning(st.session_state.get(key, ""))
        _pick(key)


def _beginning(given: str) -> Path:
    """Return the folder to begin with: the one given, or that of the runs."""
    path = Path(given.strip()).expanduser() if given.strip() else run_library.folder().parent
    return next((each for each in (path, *path.parents) if each.is_absolute() and each.is_dir()), Path.home())


@st.dialog("Choose a folder", width="medium")
def _pick(key: str) -> None:
    at: Path = st.session_state[_AT]
    with st.container(horizontal=True, vertical_alignment="center"):
        above = at.parent
        st.button("Up", icon=":material/arrow_upward:", disabled=above == at, on_click=_show, args=(above,))
        st.button("Home", icon=":material/home:", on_click=_show, args=(Path.home(),))
    st.markdown(f"**{plain(at)}**")
    try:
        folders = folders_in(at)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")
        folders = []
    with st.container(height=_HEIGHT):
        for number, folder in enumerate(folders[:_MOST]):
            with st.container(horizontal=True, vertical_alignment="center"):
                icon = ":material/dataset:" if folder.holds else ":material/folder:"
                st.button(
                    plain(folder.name),
                    key=f"folder {number} {folder.path}",
                    icon=icon,
                    type="tertiary",
                    on_click=_show,
                    args=(folder.path,),
                )
                if folder.holds:
                    st.caption(folder.holds, width="content")
        if not folders:
            st.caption("There are no folders in this one.")
        if len(folders) > _MOST:
            st.caption(f"The first {_MOST:,} of {len(folders):,} folders. Type the path to reach another one.")
    holds = what_it_holds(at)
    st.caption(f"This folder holds {holds}." if holds else "This folder does not look like a dataset.")
    if st.button("Use this folder", icon=":material/check:", type="primary"):
        st.session_state[f"{key} picked"] = str(at)
        st.rerun()


def _show(folder: Path) -> None:
    st.session_state[_AT] = folder


def take_picked(key: str) -> None:
    """Put the path of the chosen folder into its text field, which must not be drawn yet."""
    if picked := st.session_state.pop(f"{key} picked", None):
        st.session_state[key] = picked
