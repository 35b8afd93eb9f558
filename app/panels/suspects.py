"""The queue of suspects, one after another, with the buttons that decide."""

from __future__ import annotations

import functools
from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app.components.gallery import Tile, example_tile, gallery, queue, with_original
from samplescope_app.data import navigation, review_queue, session
from samplescope_app.panels import decisions, example_facts, scores, typical
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain, score_help

_DEFAULT_QUEUE = 100
_UPCOMING = 12
_AHEAD = 40  # suspects that the browser can show before the page is drawn anew
_SIZE = 300  # pixels of the picture
_ALL = "all"  # choice of the menu of splits
_KNOWN = "original_label"  # the group that would tell the answer


def draw(run: Run) -> None:
    """Draw the queue: its options and progress, the current suspect, the next ones and typical examples."""
    version = run.decisions.version()  # before the decisions are read: what is newer, the browser shows itself
    score, suspects = _suspects(run)
    undecided = suspects[suspects["action"] == ""]
    skipped = st.session_state.setdefault(f"skipped {run.id}", set())
    waiting = undecided[[session.key(row) not in skipped for row in undecided[["split", "id"]].to_dict("records")]]
    _progress(suspects, len(undecided) - len(waiting))
    if waiting.empty:
        _finished(run, len(undecided))
        return
    row = waiting.iloc[0].to_dict()
    _suspect(run, waiting.head(_AHEAD).to_dict("records"), score, version)
    upcoming = waiting.iloc[1 : 1 + _UPCOMING]
    if len(upcoming):
        st.caption("Up next")
        answer = gallery(run, upcoming, score, key="upcoming", name="Up next", layout="strip", size=72, captions=False)
        if answer.opened is not None:
            navigation.open_tile(run, answer.opened)
    typical.strips(run, row, score, "review")


def _suspects(run: Run) -> tuple[str, pd.DataFrame]:
    """Return the score on the tiles and the suspects: the N most suspicious, or those handed over by a page."""
    ranking = [name for name in run.scores if run.measure(name).suspicious is not None]
    ranking.sort(key=lambda name: name != "label_quality")  # made for this, so it comes first
    queue = review_queue.handed_over(run)
    select, split, number = st.columns([5, 2, 2], vertical_alignment="bottom")
    shown = st.session_state.get("review score")
    with select:
        chosen = st.selectbox(
            "Rank suspects by",
            [review_queue.CHOICE, *ranking] if queue is not None else ranking,
            format_func=lambda name: _order_name(run, name, queue),
            key="review score",
            persist_state="session",
            help=score_help(run.measure(shown if shown in ranking else ranking[0])),
        )
    if queue is not None and chosen == review_queue.CHOICE:
        return queue.score, review_queue.members(run, queue)
    frame = _of_split(run, chosen, split)
    # No longer than the split, which may be a smaller one than before.
    st.session_state["review length"] = min(st.session_state.get("review length", _DEFAULT_QUEUE), len(frame))
    with number:
        length = st.number_input(
            "Suspects", min_value=1, max_value=len(frame), step=10, key="review length", persist_state="session"
        )
    return chosen, session.ranked(frame, chosen, session.suspicious_end(run, chosen), most=length)


def _of_split(run: Run, score: str, column: DeltaGenerator) -> pd.DataFrame:
    """Draw the menu of splits, and return the examples of the chosen one; a score may be of training examples only."""
    splits = session.splits_of(run, score)
    if len(splits) == 1:
        column.selectbox("Split", splits, format_func=split_name, key="review training only")
        return session.examples(run)
    with column:
        chosen = st.selectbox(
            "Split",
            [_ALL, *splits],
            # Held out, the quality of a label means the same in every split; a loss does not.
            index=0 if score == "label_quality" else 1,
            format_func=split_name,
            key=f"review split {score}",
            persist_state="session",
        )
    frame = session.everything(run)
    return frame if chosen == _ALL else frame[frame["split"] == chosen]


def _order_name(run: Run, name: str, queue: review_queue.Queue | None) -> str:
    if queue is not None and name == review_queue.CHOICE:
        return review_queue.title(queue)
    end = "Highest" if session.suspicious_end(run, name) else "Lowest"
    return f"{end} {run.measure(name).title_in_sentence}"


def _progress(suspects: pd.DataFrame, skipped: int) -> None:
    decided = suspects["action"].ne("").sum()
    text = f"{decided:,} of {len(suspects):,} suspects decided"
    if skipped:
        text += f", {skipped:,} skipped"
    st.progress(decided / len(suspects), text=text)


def _finished(run: Run, skipped: int) -> None:
    st.success(
        "You have decided or skipped every suspect in this queue. Raise their number above, or export.",
        icon=":material/done_all:",
    )
    with st.container(horizontal=True):
        if skipped:
            again = st.session_state[f"skipped {run.id}"].clear
            st.button(f"Review {skipped:,} skipped", on_click=again)
        st.button("Undo", icon=":material/undo:", type="tertiary", on_click=decisions.undo, args=(run,))


def _suspect(run: Run, rows: list[Row], score: str, version: int) -> None:
    """Draw the first suspect with its facts and the buttons that decide; after a decision the next one follows."""
    row, act = rows[0], functools.partial(_act, run)
    image, about = st.columns([4, 5], gap="medium")
    with image:
        shown = [(_tile(run, each, score), _keys(run, each)) for each in rows]
        skipped = functools.partial(_act, run, "skip")
        queue(run, shown, key="suspect", size=_SIZE, version=version, on_skipped=skipped)
    with about:
        st.markdown(f"**{plain(row['id'])}**")
        decisions.split_badge(row)
        example_facts.label_lines(run, row, without=(_KNOWN,))
        decisions.buttons(run, row, "review", act, skippable=True)
    with st.expander("Scores"):
        scores.table(run, row)


def _keys(run: Run, row: Row) -> dict[str, str]:
    """Return key -> action for a suspect: those of every example, s to skip, and Enter for the suggestion, too."""
    keys = decisions.keys(run, row) | {"s": "skip"}
    return keys | {"Enter": keys["r"]} if "r" in keys else keys


def _tile(run: Run, row: Row, score: str) -> Tile:
    """Return the tile of a suspect, with its label and the suggested one on the picture."""
    suggested = labels.suggestion(run, row)
    if suggested is None:
        note = labels.on_tile(run, row)[0]
    else:
        name = run.class_names[int(suggested)] if run.values is None else labels.value_text(run, suggested)
        note = f"{labels.on_tile(run, row)[0]} → {name}?"
    return replace(with_original(run, row, example_tile(run, row, score)), note=note)


def _act(run: Run, action: str, keys: list[str]) -> None:
    if action == "skip":
        st.session_state[f"skipped {run.id}"].update(keys)
    elif action == "undo":
        decisions.undo(run)  # of all examples, since the queue has moved on from the last one
    else:
        decisions.decide(run, action, keys)
