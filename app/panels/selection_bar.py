"""The bar with what can be done to the selected examples; it stays in sight while anything is selected."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.export.csv_list import selected_list
from attribution_core.runs import Run
from samplescope_app.data import reviewing, selection, session
from samplescope_app.panels import decisions, side_by_side, what_if
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

BESIDE = "side by side"  # action of a key
_DIALOG = "dialog of the selection"  # session key: which dialog is open, and the keys of the examples that it is about
_ASKED = ("tag", "what if", BESIDE)  # the actions that open a dialog
_STYLE = """<style>
.st-key-selection_bar {
  position: fixed; bottom: 0.5rem; left: 0; right: 0; z-index: 99;
  width: fit-content; max-width: calc(100vw - 2rem); margin: 0 auto;
  padding: 0.375rem 0.75rem;
  border: 1px solid color-mix(in srgb, currentColor 30%, transparent);
  border-radius: 0.5rem;
  background: light-dark(#ffffff, #242422);
  box-shadow: 0 0 16px rgb(0 0 0 / 25%);
}
.st-key-selection_bar button { min-height: 2rem; padding: 0 0.5rem; }
</style>"""


def draw(run: Run, table: pd.DataFrame | None = None, listed: np.ndarray | None = None, keyed: bool = True) -> None:
    """Draw the bar if any example is selected.

    Args:
        run: The run.
        table: The examples that the page lists some of, with their split and id.
        listed: Positions in it, all of which can be selected at once.
        keyed: Whether keys of the page do the same, which the buttons then name.
    """
    _dialog(run)
    keys = selection.keys(run)
    if not keys:
        return
    st.html(_STYLE)
    with st.container(key="selection_bar", horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"**{len(keys):,} selected**", width="content")
        if table is not None and listed is not None and len(keys) < len(listed):
            select_all = functools.partial(_select_all, run, table, listed)
            st.button(f"Select all {len(listed):,}", key="select all", type="tertiary", on_click=select_all)
        st.button("Clear", key="clear selection", type="tertiary", on_click=selection.replace, args=(run, ()))
        for action, icon, name, letter in (
            ("drop", "close", "Drop", "d"),
            ("keep", "check", "Keep", "k"),
            (reviewing.ACCEPT, "swap_horiz", "Accept suggestion", "r"),
        ):
            name += f" `{letter}`" if keyed else ""
            st.button(name, icon=f":material/{icon}:", key=f"selected {action}", on_click=_act, args=(run, action))
        _relabel(run, keys)
        _tag(run, keys)
        _note(run, keys)
        st.download_button(
            "Export",
            functools.partial(_csv, run, tuple(keys)),
            file_name="selection.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Saves the selected examples with their labels, suggestions, scores, tags and notes as CSV.",
        )
        if side_by_side.fits(run, keys):
            beside = "Side by side `v`" if keyed else "Side by side"
            st.button(beside, key=f"selected {BESIDE}", on_click=_act, args=(run, BESIDE))
        rows = session.positions(run, keys)
        training = bool((rows < len(run.examples)).any())
        st.button("What if gone?", key="selected what if", disabled=not training, on_click=_act, args=(run, "what if"))
        undo = "Undo `u`" if keyed else "Undo"
        st.button(undo, icon=":material/undo:", key="selected undo", type="tertiary", on_click=_act, args=(run, "undo"))


def _act(run: Run, action: str) -> None:
    """Answer a button about what is selected when it is pressed, which may be more than when it was drawn."""
    if action in _ASKED:
        st.session_state[_DIALOG] = action, None
    else:
        act(run, action, selection.keys(run))


def act(run: Run, action: str, keys: Sequence[str]) -> None:
    """Answer a key or a button about some examples: a decision, undo of the reviewer's latest step, or a dialog."""
    if action == "undo":
        decisions.undo(run)
    elif action in _ASKED:
        st.session_state[_DIALOG] = action, list(keys)
    else:
        count = decisions.decide(run, action, keys)
        if action == reviewing.ACCEPT and count < len(keys):
            st.toast(
                f"Relabeled {count:,} of {len(keys):,}: nothing else is suggested for the others.",
                icon=":material/info:",
            )


def _dialog(run: Run) -> None:
    """Draw the open dialog; at every run of the page, since it would close at the next one otherwise."""
    kind, keys = st.session_state.get(_DIALOG, ("", []))
    if keys is None:  # asked by the bar: of all that is selected once every button and tile has been heard
        keys = selection.keys(run)
        st.session_state[_DIALOG] = kind, keys
    if kind == BESIDE and not side_by_side.fits(run, keys):
        st.toast(f"Select two to {side_by_side.MOST} examples to see them side by side.", icon=":material/info:")
        _dismissed()
    elif kind == BESIDE:
        _beside(run, keys)
    elif kind == "tag":
        _tag_dialog(run, keys)
    elif kind == "what if":
        _what_if(run, keys)


def _dismissed() -> None:
    st.session_state.pop(_DIALOG, None)


def _select_all(run: Run, table: pd.DataFrame, listed: np.ndarray) -> None:
    selection.replace(run, session.keys(table.iloc[listed]))


def _relabel(run: Run, keys: list[str]) -> None:
    field = "selected label" if run.values is None else "selected value"

    def take() -> None:
        if (label := st.session_state[field]) is not None:
            _act(run, f"relabel {label!r}")

    with st.popover("Relabel", icon=":material/edit:"):
        if run.values is None:
            label: float | None = st.selectbox(
                "New label",
                range(len(run.class_names)),
                index=None,
                format_func=run.class_names.__getitem__,
                key=field,
            )
        else:
            label = st.number_input("New value", value=None, step=labels.step(run), format="%.10g", key=field)
        st.button(
            f"Relabel {len(keys):,}", type="primary", key="selected relabel", disabled=label is None, on_click=take
        )


def _tag(run: Run, keys: list[str]) -> None:
    popover = st.popover("Tag", icon=":material/sell:", key="tag menu", on_change="rerun")
    if popover.open:
        with popover:
            _tag_form(run, len(keys), "selected", functools.partial(_annotate_selected, run))


def _tag_form(run: Run, count: int, key: str, annotate: Callable[[str, str], None]) -> bool:
    """Draw a menu of the tags that there are, which takes new ones; return whether a button was pressed.

    Args:
        run: The run.
        count: Number of examples.
        key: Distinguishes the form from the other one.
        annotate: Called with the verb of the pressed button and the key of the menu.
    """
    tags = run.decisions.annotations.tags()
    tag = st.selectbox(
        "Tag",
        list(tags),
        index=None,
        format_func=lambda name: f"{name} ({tags[name]:,})" if name in tags else name,
        placeholder="Choose a tag, or write a new one",
        accept_new_options=True,
        key=f"{key} tag",
    )
    with st.container(horizontal=True):
        pressed = [
            st.button(
                f"{name} {count:,}",
                key=f"{key} {verb}",
                disabled=not tag,
                on_click=annotate,
                args=(verb, f"{key} tag"),
            )
            for verb, name in (("Tag", "Add to"), ("Untag", "Remove from"))
        ]
    return any(pressed)


@st.dialog("Tag", on_dismiss=_dismissed)
def _tag_dialog(run: Run, keys: list[str]) -> None:
    if _tag_form(run, len(keys), "asked", functools.partial(_annotate, run, keys)):
        _dismissed()
        st.rerun()


def _note(run: Run, keys: list[str]) -> None:
    with st.popover("Note", icon=":material/edit_note:"):
        st.text_area("Note", key="selected note", help="Replaces an earlier note; an empty one removes it.")
        st.button(
            f"Write on {len(keys):,}",
            type="primary",
            key="selected write",
            on_click=_annotate_selected,
            args=(run, "Note", "selected note"),
        )


def _annotate_selected(run: Run, verb: str, field: str) -> None:
    _annotate(run, selection.keys(run), verb, field)


def _annotate(run: Run, keys: list[str], verb: str, field: str) -> None:
    """Tag, untag or note some examples with what stands in a field."""
    text = st.session_state[field] or ""
    annotations = run.decisions.annotations
    write = {"Tag": annotations.tag, "Untag": annotations.untag, "Note": annotations.note}[verb]
    try:
        write(reviewing.split_and_ids(run, keys), text, reviewing.reviewer())
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")


def _csv(run: Run, keys: tuple[str, ...]) -> str:
    return selected_list(run, session.positions(run, keys))


@st.dialog("What if these were gone?", width="large", on_dismiss=_dismissed)
def _what_if(run: Run, keys: list[str]) -> None:
    rows = session.positions(run, keys)
    training = rows[rows < len(run.examples)].tolist()
    st.caption(f"The {len(training):,} selected training examples")
    what_if.answer(run, training, "selected")


@st.dialog("Side by side", width="large", on_dismiss=_dismissed)
def _beside(run: Run, keys: list[str]) -> None:
    side_by_side.draw(run, keys)
