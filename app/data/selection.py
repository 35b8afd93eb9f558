"""The examples that are selected in this session, across pages of tiles and pages of the app."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import streamlit as st

from attribution_core.runs import Run


def keys(run: Run) -> list[str]:
    """Return the keys of the selected examples, in the order of their selection."""
    return list(_selected(run))


def among(run: Run, shown: Iterable[str]) -> list[str]:
    """Return those of some keys that are selected."""
    selected = _selected(run)
    return [key for key in shown if key in selected]


def replace(run: Run, selected: Iterable[str]) -> None:
    """Select these examples and no others."""
    st.session_state[_key(run)] = dict.fromkeys(selected)
    st.session_state[_changes(run)] = changes(run) + 1


def choose(run: Run, shown: Collection[str], selected: Collection[str], everywhere: bool = False) -> None:
    """Take over what was selected among the tiles that are shown, which changes nothing on other pages of tiles.

    Args:
        run: The run.
        shown: Keys of the tiles.
        selected: Keys of the selected ones.
        everywhere: Whether to end the selection of all that is not shown.
    """
    others = () if everywhere else (key for key in _selected(run) if key not in shown or key in selected)
    st.session_state[_key(run)] = dict.fromkeys([*others, *(key for key in selected if key in shown)])


def changes(run: Run) -> int:
    """Return how often :func:`replace` was called, which the tiles follow."""
    return int(st.session_state.get(_changes(run), 0))


def _selected(run: Run) -> dict[str, None]:
    found: dict[str, None] = st.session_state.get(_key(run), {})
    return found


def _key(run: Run) -> str:
    return f"selection of {run.id}"


def _changes(run: Run) -> str:
    return f"selection changes of {run.id}"
