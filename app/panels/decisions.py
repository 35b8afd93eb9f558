"""The decision about an example: its badge, and the keys and buttons to make it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.components.gallery import OnPressed
from samplescope_app.data import reviewing, session
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

_MOST_DIGITS = 10  # classes up to which one digit names a class


def badge(row: Row) -> None:
    """Draw the decision about an example, in words, color and an icon, what reviewers disagree about, and the tags."""
    match row["action"]:
        case "keep":
            st.badge("kept", icon=":material/check:", color="green")
        case "drop":
            st.badge("dropped", icon=":material/close:", color="orange")
        case "relabel":
            # Not st.badge, which would escape brackets a second time.
            st.markdown(f":blue-badge[:material/swap_horiz: relabeled {plain(row['new_label_name'])}]", width="content")
        case _:
            st.badge("undecided", color="gray")
    if row["disagreement"]:
        st.markdown(f":red-badge[:material/people: {plain(row['disagreement'])}]", width="content")
    for tag in row["tags"]:
        st.markdown(f":gray-badge[:material/sell: {plain(tag)}]", width="content")


def keys(run: Run, row: Row) -> dict[str, str]:
    """Return key -> action for a page about one example: d, k, u, r for the suggestion, a digit for each class."""
    keys = {"d": "drop", "k": "keep", "u": "undo"}
    if (suggested := labels.suggestion(run, row)) is not None:
        keys["r"] = f"relabel {suggested!r}"
    if len(run.class_names) <= _MOST_DIGITS:
        keys |= {str(label): f"relabel {label}" for label in range(len(run.class_names))}
    return keys


def buttons(run: Run, row: Row, key: str, act: OnPressed, skippable: bool = False) -> None:
    """Draw buttons for the same actions as the keys."""
    buttons: list[tuple[str, str, str, Literal["secondary", "tertiary"]]] = [
        ("drop", "Drop `d`", "close", "secondary"),
        ("keep", "Keep `k`", "check", "secondary"),
    ]
    if (suggested := labels.suggestion(run, row)) is not None:
        name = plain(run.class_names[int(suggested)] if run.values is None else labels.value_text(run, suggested))
        buttons.append((f"relabel {suggested!r}", f"Relabel to {name} `r`", "swap_horiz", "secondary"))
    buttons.append(("undo", "Undo `u`", "undo", "tertiary"))
    if skippable:
        buttons.append(("skip", "Skip `s`", "skip_next", "tertiary"))
    shown = [session.key(row)]
    with st.container(horizontal=True, gap="small"):
        for action, label, icon, kind in buttons:
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"{key} {action}",
                type=kind,
                on_click=act,
                args=(action, shown),
            )
    if run.values is None:
        _class_buttons(run, row, key, act)
    else:
        _value_input(run, row, key, act)


def _value_input(run: Run, row: Row, key: str, act: OnPressed) -> None:
    """Draw a number input and a button that takes the number as the new value."""
    field = f"{key} value {session.key(row)}"

    def take() -> None:
        # Read here, since the button may be pressed before the page has seen the new number.
        if (value := st.session_state[field]) is not None:
            act(f"relabel {float(value)!r}", [session.key(row)])

    suggested = labels.suggestion(run, row)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.number_input(
            "New value",
            value=row["label"] if suggested is None else suggested,
            step=labels.step(run),
            format="%.10g",
            key=field,
            width=220,
        )
        st.button("Set value", icon=":material/edit:", key=f"{key} set value", on_click=take)


def _class_buttons(run: Run, row: Row, key: str, act: OnPressed) -> None:
    """Draw a button for each class if there are at most ten, else a menu."""
    shown = [session.key(row)]
    st.caption("Relabel to")
    if len(run.class_names) <= _MOST_DIGITS:
        with st.container(horizontal=True, gap="xsmall"):
            for label, name in enumerate(run.class_names):
                st.button(
                    f"{plain(name)} `{label}`",
                    key=f"{key} as {label}",
                    disabled=label == row["label"],
                    on_click=act,
                    args=(f"relabel {label}", shown),
                )
        return
    others = [label for label in range(len(run.class_names)) if label != row["label"]]
    suggested = labels.suggestion(run, row)
    menu = f"{key} menu {session.key(row)}"
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.selectbox(
            "New label",
            others,
            index=0 if suggested is None else others.index(int(suggested)),
            format_func=lambda label: run.class_names[label],
            key=menu,
            label_visibility="collapsed",
        )
        st.button(
            "Relabel",
            icon=":material/swap_horiz:",
            key=f"{key} menu button",
            on_click=lambda: act(f"relabel {st.session_state[menu]}", shown),
        )


def decide(run: Run, action: str, keys: Sequence[str]) -> int:
    """Carry out keep, drop, "relabel LABEL" or accept for the examples of some keys, or show why it is not saved.

    Returns:
        The number of examples decided about.
    """
    try:
        return reviewing.decide(run, keys, action, reviewing.reviewer())
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")
        return 0


def undo(run: Run, key: str | None = None) -> None:
    """Undo the reviewer's latest step, or the latest decision about the example of this key, and show which it was."""
    try:
        undone = reviewing.undo(run, reviewing.reviewer(), key)
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")
    else:
        st.toast(plain(reviewing.undone_in_words(undone)), icon=":material/undo:")


def split_badge(row: Row) -> None:
    """Draw the split of an example."""
    st.badge(f"{split_name(row['split'])} example", color="gray")
