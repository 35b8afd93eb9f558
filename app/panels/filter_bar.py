"""The filters and the order of Browse: menus for the usual ones, a field for all of them, and a chip for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.data import filters, query, session
from samplescope_app.data.filters import ALL, View
from samplescope_app.data.query import AnyOf, Compare, Condition, Contains
from samplescope_app.panels import filter_editor, saved_views
from samplescope_app.wording.text import format_score, plain

_SIGNS = {">=": "≥", "<=": "≤"}
_ORDERS = {True: "Highest first", False: "Lowest first"}
_REFUSED = "browse refused"  # session key of what was wrong with the text in the field


def draw(run: Run) -> None:
    """Draw the field and the menus; they show the view that the address asks for, and change it."""
    follow(run)
    view = filters.current(run)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        _order(run, view)
        _field(run)
        _split(run, view)
        for name, hint, width in (
            ("class", "any class", 106),
            ("predicted", "any prediction", 134),
            ("decision", "any decision", 124),
        ):
            filter_editor.category(run, view, name, hint, label_visibility="collapsed", width=width)
        with st.popover("Filter", icon=":material/filter_alt:"):
            filter_editor.draw(run, view)
        saved_views.draw(run)
    if refused := st.session_state.get(_REFUSED):
        st.error(plain(refused), icon=":material/filter_alt_off:")


def follow(run: Run) -> None:
    """Take the view that the address asks for, or say why it cannot be shown."""
    try:
        filters.follow_address(run)
    except InputError as error:
        st.error(f"The address asks for what this run does not have. {plain(error)}", icon=":material/filter_alt_off:")


def _order(run: Run, view: View) -> None:
    """Draw what to sort by first, and in which direction."""
    sortable = filters.sortable_names(run)
    (name, descending), *others = view.order

    def sort(chosen: str, downwards: bool) -> None:
        later = tuple(pair for pair in others if pair[0] != chosen)
        filters.show(run, dataclasses.replace(view, order=((chosen, downwards), *later)))

    def by() -> None:
        chosen = st.session_state["browse score"]
        sort(chosen, session.suspicious_end(run, chosen) if chosen in run.scores else False)

    filter_editor.show("browse score", name)
    st.selectbox(
        "Sort by",
        list(sortable),
        format_func=lambda each: sortable[each].title,
        key="browse score",
        on_change=by,
        label_visibility="collapsed",
        width=190,
    )
    filter_editor.show("browse order", descending)
    st.selectbox(
        "Order",
        list(_ORDERS),
        format_func=_ORDERS.__getitem__,
        key="browse order",
        on_change=lambda: sort(name, st.session_state["browse order"]),
        label_visibility="collapsed",
        width=122,
    )


def _field(run: Run) -> None:
    """Draw the field that takes text or conditions, adds them to the filters and is empty again."""
    known = filters.names(run)

    def add() -> None:
        text, view = st.session_state["browse text"], filters.current(run)
        try:
            added = query.parse(text, known)
        except InputError as error:
            st.session_state[_REFUSED] = str(error)
            return
        st.session_state[_REFUSED], st.session_state["browse text"] = "", ""
        if added:
            conditions = tuple(dict.fromkeys((*view.conditions, *added)))
            filters.show(run, dataclasses.replace(view, conditions=conditions))

    st.text_input(
        "Search or filter",
        key="browse text",
        on_change=add,
        type="search",
        placeholder="Search, or loss>0.5",
        label_visibility="collapsed",
        width=170,
    )


def _split(run: Run, view: View) -> None:
    """Draw the menu of the splits that have the score; what is selected on the map is of training."""

    def choose() -> None:
        filters.show(run, dataclasses.replace(view, split=st.session_state["browse split"]))

    filter_editor.show("browse split", view.split)
    choices = ["train"] if view.rows is not None else filters.splits(run, view)
    st.selectbox(
        "Split",
        choices,
        format_func=split_name,
        key="browse split",
        on_change=choose,
        label_visibility="collapsed",
        width=106,
    )


def chips(run: Run, view: View, count: int) -> None:
    """Draw the number of examples listed, and a chip for each filter, which removes it."""
    frame = filters.table(run, view.split)
    total = len(frame) if view.split == ALL else int((frame["split"] == view.split).sum())
    held_out = "" if view.split in ("train", ALL) else f"{view.split} "
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"{count:,} of {total:,} {held_out}examples", width="content")
        for text, without in _chips(run, view):
            _button(text, "Removes this filter and keeps the others.", filters.show, run, without)
        for name, descending in view.order[1:]:
            order = tuple(pair for pair in view.order if pair[0] != name)
            text = f"then {filters.sortable_names(run)[name].title}, {_ORDERS[descending].lower()}"
            _button(text, "Sorts without it.", filters.show, run, dataclasses.replace(view, order=order))
        if view.conditions or view.rows is not None:
            everything = dataclasses.replace(view, conditions=(), rows=None)
            st.button(
                "Clear filters",
                type="tertiary",
                icon=":material/filter_alt_off:",
                on_click=filters.show,
                args=(run, everything),
            )
        if filters.can_undo():
            st.button("Previous filters", type="tertiary", icon=":material/undo:", on_click=filters.undo, args=(run,))


def _button(text: str, help_text: str, act: Callable[..., None], *args: Any) -> None:
    st.button(
        plain(text),
        key=f"chip {text}",
        icon=":material/close:",
        icon_position="right",
        help=help_text,
        on_click=act,
        args=args,
    )


def _chips(run: Run, view: View) -> list[tuple[str, View]]:
    """Return the words for each filter and the view without it; the two ends of a range are one filter."""
    found: list[tuple[str, View]] = []
    seen: set[str] = set()
    for condition in view.conditions:
        together: Sequence[Condition] = (condition,)
        if isinstance(condition, Compare):
            if condition.name in seen:
                continue
            seen.add(condition.name)
            together = [each for each in view.conditions if isinstance(each, Compare) and each.name == condition.name]
        kept = tuple(each for each in view.conditions if each not in together)
        found.append((_in_words(run, together), dataclasses.replace(view, conditions=kept)))
    if view.rows is not None:
        found.append((f"{len(view.rows):,} selected", dataclasses.replace(view, rows=None)))
    return found


def _in_words(run: Run, together: Sequence[Condition]) -> str:
    """Return the words for conditions that are shown as one."""
    known = filters.names(run)
    match together[0]:
        case AnyOf(name, values, excluded):
            return f"{known.categories[name].title}: {'not ' * excluded}{', '.join(values)}"
        case Contains(text, excluded):
            return f"{'without' if excluded else 'with'} “{text}”"
        case Compare(name):
            bounds = [
                f"{_SIGNS.get(each.sign, each.sign)} {format_score(each.bound)}"
                for each in together
                if isinstance(each, Compare)
            ]
            return f"{known.numbers[name].title} {' and '.join(bounds)}"
