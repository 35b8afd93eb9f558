"""Browse: every training example as a tile, filtered and sorted."""

from __future__ import annotations

import functools
import math

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import Answer, gallery, picture
from samplescope_app.data import session
from samplescope_app.panels import parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_TILES = 60
_KEYS = {"d": "drop", "k": "keep", "u": "undo"}
_EXPLANATION = (
    "Every training example as a tile, with its score and the share of the examples that score less or the same, its "
    "{label}, and the prediction where it differs (≠)."
)
_ORDERS = {True: "Highest first", False: "Lowest first"}


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Browse", _EXPLANATION.format(label=labels.noun(run)), session.filters(run).score)
    _filter_bar(run)
    _results(run)


def _filter_bar(run: Run) -> None:
    chosen = session.filters(run)
    st.session_state.setdefault(session.KEYS["score"], chosen.score)
    st.session_state.setdefault(session.KEYS["descending"], chosen.descending)
    columns = st.columns([3, 2.4, 3, 3, 3, 2.4, 2], vertical_alignment="bottom")
    with columns[0]:
        parts.score_select(run, session.KEYS["score"], "Sort by", persist_state="session")
    with columns[1]:
        st.selectbox("Order", list(_ORDERS), format_func=_ORDERS.get, **_widget("descending"))
    if run.values is None:
        columns[2].multiselect("Class", run.class_names, placeholder="all", **_widget("classes"))
        columns[3].multiselect("Predicted", run.class_names, placeholder="all", **_widget("predicted"))
    else:
        for column, label, name in ((columns[2], "Value from", "value_low"), (columns[3], "Value to", "value_high")):
            column.number_input(label, value=None, step=labels.step(run), format="%.10g", **_widget(name))
    with columns[4]:
        names = session.DECISION_NAMES
        st.multiselect("Decision", list(names), format_func=names.get, placeholder="all", **_widget("decisions"))
    with columns[5]:
        st.text_input("Id contains", **_widget("text"))
    with columns[6], st.popover("More", icon=":material/tune:", width="stretch"):
        _more_filters(run)


def _more_filters(run: Run) -> None:
    low, high = st.columns(2)
    with low:
        st.number_input("Score from", value=None, format="%.6g", **_widget("low"))
    with high:
        st.number_input("Score to", value=None, format="%.6g", **_widget("high"))
    if run.values is None:
        st.toggle("Wrong predictions only", **_widget("wrong_only"))
    if groups := labels.kinds(run):
        title = functools.partial(labels.group_title, run)
        group = st.selectbox("Group", groups, index=None, format_func=title, **_widget("group"))
        if group is not None:
            values = sorted(session.examples(run)[group].unique())
            st.multiselect("Values", values, placeholder="all", **_widget("group_values"))


def _widget(name: str) -> dict[str, str]:
    return {"key": session.KEYS[name], "persist_state": "session"}


def _results(run: Run) -> None:
    """The grid and its side panel.

    Not a fragment, though moving the focus would then redraw less: a fragment's rerun that arrives while the page is
    being left empties the next one.
    """
    chosen = session.filters(run)
    listed = session.matching(run, chosen)
    _summary(run, chosen, len(listed))
    if not len(listed):
        st.info("No example passes these filters.", icon=":material/filter_alt_off:")
        return
    page = _page(chosen, len(listed))
    tiles = session.examples(run).iloc[listed[page * _TILES : (page + 1) * _TILES]]
    grid, panel = st.columns([5, 2], gap="large")
    with grid:
        answer = gallery(
            run,
            tiles,
            chosen.score,
            key="browse grid",
            name="Training examples",
            keys=_KEYS,
            on_pressed=functools.partial(_act, run),
            selectable=True,
        )
        _pager(page, len(listed))
    with panel:
        _side_panel(run, tiles, answer, chosen.score)
    if answer.opened is not None:
        session.open_example(run, answer.opened)


def _act(run: Run, action: str, ids: list[str]) -> None:
    if action == "undo":
        session.undo(run)
    else:
        session.decide(run, ids, action)


def _summary(run: Run, chosen: session.Filters, count: int) -> None:
    total = len(session.examples(run))
    parts_ = [f"{count:,} of {total:,} examples"]
    for what, low, high, form in (
        ("score", chosen.low, chosen.high, ".3g"),
        (labels.name(run), chosen.value_low, chosen.value_high, ".10g"),
    ):
        if low is not None or high is not None:
            first = "the lowest" if low is None else f"{low:{form}}"
            parts_.append(f"{what} from {first} to {'the highest' if high is None else f'{high:{form}}'}")
    if chosen.wrong_only:
        parts_.append("wrong predictions only")
    if chosen.group and chosen.group_values:
        parts_.append(f"{labels.group_title(run, chosen.group)}: {', '.join(chosen.group_values)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(" · ".join(parts_)), width="content")
        if chosen.selection:
            st.button(
                f"{len(chosen.selection):,} chosen on the map",
                icon=":material/close:",
                help="Show the others again; the filters stay.",
                on_click=session.forget_selection,
            )
        if count < total:
            st.button("Clear filters", type="tertiary", icon=":material/close:", on_click=session.clear_filters)


def _page(chosen: session.Filters, count: int) -> int:
    """The page of tiles; other filters begin on the first again."""
    if st.session_state.get("browse filters") != chosen:
        if "browse filters" in st.session_state:
            st.session_state["browse page"] = 0
        st.session_state["browse filters"] = chosen
    last = math.ceil(count / _TILES) - 1
    return min(st.session_state.get("browse page", 0), last)


def _pager(page: int, count: int) -> None:
    last = math.ceil(count / _TILES) - 1
    if last == 0:
        return
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        for label, icon, target in (("First", "first_page", 0), ("Previous", "chevron_left", page - 1)):
            _page_button(label, icon, target, disabled=page == 0)
        st.caption(f"{page * _TILES + 1:,} to {min(count, (page + 1) * _TILES):,} of {count:,}", width="content")
        for label, icon, target in (("Next", "chevron_right", page + 1), ("Last", "last_page", last)):
            _page_button(label, icon, target, disabled=page == last)


def _page_button(label: str, icon: str, target: int, disabled: bool) -> None:
    def turn() -> None:
        st.session_state["browse page"] = target

    st.button(label, icon=f":material/{icon}:", key=f"browse {label}", disabled=disabled, on_click=turn)


def _side_panel(run: Run, tiles: pd.DataFrame, answer: Answer, score: str) -> None:
    """Bulk actions for the selection, and details of the focused tile."""
    if answer.selected:
        st.markdown(f"**{len(answer.selected)} selected**")
        with st.container(horizontal=True):
            for action, icon, letter in (("drop", "close", "d"), ("keep", "check", "k")):
                st.button(
                    f"{action.capitalize()} `{letter}`",
                    icon=f":material/{icon}:",
                    on_click=_act,
                    args=(run, action, answer.selected),
                )
    shown = answer.focused or (answer.selected[-1] if answer.selected else None)
    if shown is None:
        st.caption(
            "Click a tile to open it. Arrow keys move, **enter** opens, **space** or ctrl-click selects, **d** drops, "
            "**k** keeps, **u** takes the last decision back."
        )
        return
    row = tiles[tiles["id"] == shown].iloc[0].to_dict()
    picture(run, row, score, key="browse picture", size=260)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(row['id'])}**", width="content")
        parts.decision_badge(row)
    parts.label_lines(run, row)
    parts.score_table(run, row)
    if st.button("Open", icon=":material/open_in_full:"):
        session.open_example(run, row["id"])


main()
