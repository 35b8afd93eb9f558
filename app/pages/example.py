"""Example: one example, its influences and the decision about it."""

from __future__ import annotations

import functools

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import filters, navigation, session, trail
from samplescope_app.panels import (
    among_training,
    evolution,
    example_card,
    filter_bar,
    header,
    influencers,
    scores,
    typical,
)
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

_LEFT_WIDTH, _SCORES_WIDTH = 470, 360  # pixels; side by side in a wide window, else one above the other
_EXPLANATION = (
    "The examples that this one helps (▲) and harms (▼), or that help and harm it. Click a tile to open it. The keys "
    "act on the large example."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Example", _EXPLANATION)
    filter_bar.follow(run)
    if not {"id", "evaluation"} & set(st.query_params):
        _choose_first(run)
    if "evaluation" in st.query_params:
        _evaluation_page(run, st.query_params["evaluation"])
    else:
        _training_page(run)


def _choose_first(run: Run) -> None:
    """Write the first example that Browse lists, which may be of any split, into the address."""
    train, listed = session.examples(run), filters.matching(run, filters.current(run))
    first = int(listed[0]) if len(listed) else 0
    if first < len(train):
        st.query_params["id"] = train["id"].iloc[first]
    else:
        st.query_params["evaluation"] = str(first - len(train))


def _training_page(run: Run) -> None:
    frame, chosen = session.examples(run), filters.current(run)
    listed = filters.matching(run, chosen)
    listed = listed[listed < len(frame)]
    example_id = st.query_params["id"]
    found = np.flatnonzero(frame["id"] == example_id)
    if not len(found):
        _not_found(f"This run has no training example {plain(example_id)}.")
        return
    row = frame.iloc[found[0]].to_dict()
    if row["row"] not in listed:
        # The filters hide this example, after a deep link or a decision: step through all examples instead.
        listed = filters.matching(run, filters.View(chosen.order))
    _training_example(run, row, listed, filters.shown_score(run))


def _training_example(run: Run, row: Row, listed: np.ndarray, score: str) -> None:
    around = example_card.around(listed, row["row"])
    steps = {action: session.examples(run)["id"].iloc[target] for action, target in around.items()}
    act = functools.partial(example_card.act, run, steps)
    trail.stand(row)
    example_card.navigation_bar(run, row, listed, functools.partial(act, keys=[session.key(row)]))
    about, influences = st.columns(2, gap="large")
    with about, st.container(horizontal=True, gap="small"):
        with st.container(width=_LEFT_WIDTH):
            example_card.example(run, row, score, act)
        with st.container(width=_SCORES_WIDTH):
            scores.table(run, row)
    with influences:
        influencers.of_training_example(run, row)
        influencers.neighbors(run, "train", row)
        among_training.draw(run, row)
    evolution.of_example(run, row)
    typical.strips(run, row, score, "example")


def _evaluation_page(run: Run, asked: str) -> None:
    """Draw an evaluation example by its position in the table, since ids are unique within a split only."""
    frame = session.evaluation(run)
    position = int(asked) if asked.isdecimal() and len(asked) < 10 else -1
    if not 0 <= position < len(frame):
        _not_found(f"This run has no evaluation example {plain(asked)}. It has {len(frame):,}, numbered from 0.")
        return
    row, chosen = frame.iloc[position].to_dict(), filters.current(run)
    listed = filters.matching(run, chosen) - len(session.examples(run))
    listed = listed[listed >= 0]
    listed = listed[frame["split"].to_numpy()[listed] == row["split"]]
    if row["row"] not in listed:
        listed = np.flatnonzero(frame["split"] == row["split"])
    _evaluation_example(run, row, listed)


def _evaluation_example(run: Run, row: Row, listed: np.ndarray) -> None:
    steps = {action: str(target) for action, target in example_card.around(listed, row["row"]).items()}
    act = functools.partial(example_card.act, run, steps)
    trail.stand(row)
    example_card.navigation_bar(run, row, listed, functools.partial(act, keys=[session.key(row)]))
    about, influences = st.columns(2, gap="large")
    with about, st.container(horizontal=True, gap="small"):
        with st.container(width=_LEFT_WIDTH):
            example_card.example(run, row, filters.shown_score(run), act)
        with st.container(width=_SCORES_WIDTH):
            scores.table(run, row)
    with influences:
        influencers.on_evaluation_example(run, row)
        influencers.neighbors(run, "evaluation", row)


def _not_found(what: str) -> None:
    st.info(what, icon=":material/search_off:")
    st.page_link(navigation.PAGES["browse"], label="Browse", icon=":material/grid_view:")


main()
