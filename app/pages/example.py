"""Example: one image, what it does to others or others to it, and the decision about it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution_core.runs import Run
from samplescope_app.components.gallery import OnPressed, Tile, large, training_tile
from samplescope_app.data import session
from samplescope_app.panels import influencers, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain

_STEP_KEYS = {"ArrowLeft": "previous", "ArrowRight": "next", "b": "back"}
_SIZE = 250  # pixels; a thumbnail has 128 at most, and blown up further it shows no more
_ABOUT_WIDTH = 200  # beside it
_LEFT_WIDTH, _SCORES_WIDTH = 470, 350  # side by side where the window is wide, else one above the other
_LONGEST_ID = 30  # letters of a heading
_EXPLANATION = (
    "Whom this example helps (▲) and harms (▼), or who helps and harms it: click a tile to go on to it. The keys are "
    "about the large one."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Example", _EXPLANATION)
    if "evaluation" in st.query_params:
        _evaluation_page(run, st.query_params["evaluation"])
    else:
        _training_page(run)


def _training_page(run: Run) -> None:
    frame, chosen = session.examples(run), session.filters(run)
    listed = session.matching(run, chosen)
    if "id" not in st.query_params:
        st.query_params["id"] = frame["id"].iloc[listed[0] if len(listed) else 0]
    example_id = st.query_params["id"]
    found = np.flatnonzero(frame["id"] == example_id)
    if not len(found):
        _nothing(f"This run has no training example {plain(example_id)}.")
        return
    row = frame.iloc[found[0]].to_dict()
    if row["row"] not in listed:
        # A deep link, or a decision that the filters now hide: step through all examples instead.
        listed = session.matching(run, session.Filters(chosen.score, chosen.descending))
    st.session_state["last example"] = example_id
    _training_example(run, row, listed, chosen.score)


def _training_example(run: Run, row: dict[str, Any], listed: np.ndarray, score: str) -> None:
    around = _around(listed, row["row"])
    steps = {action: session.examples(run)["id"].iloc[target] for action, target in around.items()}
    act = functools.partial(_act, run, steps)
    _navigation(run, row["row"], f"#{row['row']}", listed, "Back to grid", functools.partial(act, ids=[row["id"]]))
    about, influences = st.columns(2, gap="large")
    with about, st.container(horizontal=True, gap="small"):
        with st.container(width=_LEFT_WIDTH):
            _training_picture(run, row, score, act)
        with st.container(width=_SCORES_WIDTH):
            parts.score_table(run, row)
    with influences:
        influencers.of_training_example(run, row)
        influencers.neighbours(run, "train", row)
    influencers.over_training(run, row)
    parts.typical_strips(run, row, score, "example")


def _training_picture(run: Run, row: dict[str, Any], score: str, act: OnPressed) -> None:
    facts = _picture(training_tile(run, row, score), parts.decision_keys(run, row) | _STEP_KEYS, act)
    with facts:
        _heading(row["id"])
        parts.decision_badge(row)
        parts.label_lines(run, row)
    parts.decision_buttons(run, row, "example", act)


def _picture(item: Tile, keys: dict[str, str], act: OnPressed) -> DeltaGenerator:
    """The image, and the place beside it for what is known about it.

    The same element for either kind of example: two of them would both answer keys while one takes the other's place.
    """
    with st.container(horizontal=True, gap="small"):
        with st.container(width=_SIZE):
            large(item, key="example picture", size=_SIZE, keys=keys, on_pressed=act)
        return st.container(width=_ABOUT_WIDTH)


def _heading(example_id: str) -> None:
    """The id; of a long one, such as a path, the ends, and all of it behind a question mark."""
    if len(example_id) <= _LONGEST_ID:
        st.markdown(f"#### {plain(example_id)}")
    else:
        end = _LONGEST_ID // 2
        st.markdown(f"#### {plain(example_id[:end])}…{plain(example_id[-end:])}", help=plain(example_id))


def _evaluation_page(run: Run, asked: str) -> None:
    """An evaluation example, by its position in the table: ids are unique within a split only."""
    table = run.evaluation
    position = int(asked) if asked.isdecimal() and len(asked) < 10 else -1
    if not 0 <= position < len(table):
        _nothing(f"This run has no evaluation example {plain(asked)}: there are {len(table):,}, counted from 0.")
        return
    row = {**table.iloc[position].to_dict(), "row": position}
    row |= {name: labels.group_names(run, table[name].iloc[[position]]).iloc[0] for name in run.groups if name in row}
    split = np.flatnonzero(table["split"] == row["split"])
    _evaluation_example(run, row, split)


def _evaluation_example(run: Run, row: dict[str, Any], split: np.ndarray) -> None:
    steps = {action: str(target) for action, target in _around(split, row["row"]).items()}
    act = functools.partial(_act, run, steps)
    name = f"#{row['row']} of {row['split']}"
    _navigation(run, row["row"], name, split, "Back", functools.partial(act, ids=[]))
    about, influences = st.columns(2, gap="large")
    with about, st.container(horizontal=True, gap="small"), st.container(width=_LEFT_WIDTH):
        facts = _picture(influencers.evaluation_tile(run, row), _STEP_KEYS, act)
        with facts:
            _heading(row["id"])
            st.badge(f"{row['split']} example", color="gray")
            parts.label_lines(run, row)
            st.markdown(f"Loss **{plain(format_score(row['loss']))}** {plain(run.measure('loss').unit)}")
    with influences:
        influencers.on_evaluation_example(run, row)
        influencers.neighbours(run, "evaluation", row)


def _nothing(what: str) -> None:
    st.info(what, icon=":material/search_off:")
    st.page_link(session.PAGES["browse"], label="Browse", icon=":material/grid_view:")


def _around(listed: np.ndarray, row: int) -> dict[str, int]:
    """The rows before and after one of those listed; missing at the ends."""
    position = int(np.flatnonzero(listed == row)[0])
    targets = {"previous": position - 1, "next": position + 1}
    return {action: int(listed[at]) for action, at in targets.items() if 0 <= at < len(listed)}


def _navigation(run: Run, row: int, name: str, listed: np.ndarray, back_label: str, act: Callable[[str], None]) -> None:
    around, position = _around(listed, row), int(np.flatnonzero(listed == row)[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        back = st.button(f"{back_label} `b`", icon=":material/arrow_back:", type="tertiary")
        st.space("stretch")
        st.caption(f"{plain(name)} · {position + 1:,} of {len(listed):,}", width="content")
        for action, label, icon in (
            ("previous", "Previous `←`", "chevron_left"),
            ("next", "Next `→`", "chevron_right"),
        ):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"example {action}",
                disabled=action not in around,
                on_click=act,
                args=(action,),
            )
    # A callback can't leave the page, so the key for it is only noted there.
    if st.session_state.pop("leave example", False) or back:
        last = st.session_state.get("last example")
        if "evaluation" in st.query_params and last is not None:
            session.open_example(run, last)
        session.go("browse", run)


def _act(run: Run, steps: dict[str, str], action: str, ids: list[str]) -> None:
    """Answers a key or a button; to step is to change the address of this same page."""
    if action == "back":
        st.session_state["leave example"] = True
    elif action in ("previous", "next"):
        if action in steps:
            st.query_params["evaluation" if "evaluation" in st.query_params else "id"] = steps[action]
    elif action == "undo":
        session.undo(run, ids[0])
    else:
        parts.decide(run, action, ids)


main()
