"""The tiles below the map, or below another chart of points: the selected examples; and the suspects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import gallery
from samplescope_app.data import filters, navigation, selection, session
from samplescope_app.panels import embedding_map, points, what_if
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_TILES, _BESIDE = 24, 60  # in a strip, and in the drawer beside a chart
_SMALL, _DRAWER_HEIGHT = 72, 500  # of the tiles there, and of the drawer, in pixels
_FAR = 100  # farthest examples
_FARTHEST = "map farthest"


def has_drawer(run: Run, chart: str = embedding_map.NAME) -> bool:
    """Return whether a selection on a chart, by its name, needs a drawer beside it."""
    return points.selected_rows(run, chart) is not None


def drawer(run: Run, chart: str = embedding_map.NAME) -> None:
    """Draw the examples selected with the lasso or the box on a chart, in a narrow column beside it."""
    rows = points.selected_rows(run, chart)
    if rows is None or not len(rows):
        st.info("The selection contains no training example.", icon=":material/filter_alt_off:")
        return
    members = session.examples(run).iloc[rows]
    what = _labels_of(members) if run.values is None else _values_of(run, members)
    _summary(run, rows, f"{len(rows):,} selected", what, f"{chart} chosen", beside=True)


def what_if_gone(run: Run, chart: str = embedding_map.NAME) -> None:
    """Offer to say what would be without the examples selected on a chart."""
    rows = points.selected_rows(run, chart)
    if rows is not None and len(rows):
        what_if.draw(run, rows.tolist(), chart, f"the {len(rows):,} selected")


def _labels_of(members: pd.DataFrame) -> str:
    """Return the labels of some examples and the number of wrong predictions, in words."""
    counts = members["label_name"].value_counts()
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.head(5).items())
    others = f" and {len(counts) - 5:,} more labels" if len(counts) > 5 else ""
    return f"{shown}{others}; {int((~members['correct'].astype(bool)).sum()):,} wrong predictions"


def _values_of(run: Run, members: pd.DataFrame) -> str:
    """Return the values of some examples and their mean absolute error, in words."""
    mean, off = (labels.value_text(run, value) for value in (members["label"].mean(), members["residual"].abs().mean()))
    return f"{labels.value_range(run, members['label'])}, mean {mean}; mean absolute error {off}"


def farthest(run: Run) -> None:
    """Draw the suspects that the map shows, which also serves users who cannot use a pointer."""
    if run.values is not None:
        if (worst := labels.suspect_ranking(run)) is not None:
            ranked = session.ranked(session.examples(run), worst.score, worst.descending, most=_FAR)
            score = run.measure(worst.score).title_in_sentence
            what = f"Highest {score} first. Look here for wrong values and unusual examples."
            _summary(run, ranked["row"].to_numpy(), worst.title, what, _FARTHEST)
        return
    rows = _farthest(run, run.version)
    what = (
        "The examples farthest on the map from the median point of their class, relative to the median distance in the "
        "class. Look here for wrong labels and unusual examples."
    )
    _summary(run, rows, "Far from the others of their class", what, _FARTHEST)


def _select(run: Run, rows: np.ndarray, key: str) -> None:
    """Draw a button that selects what was drawn around, for the bar of the selection to act on."""

    def select() -> None:
        selection.replace(run, session.keys(session.examples(run).iloc[rows]))

    st.button(f"Select all {len(rows):,}", key=f"select {key}", icon=":material/check_box:", on_click=select)


def _summary(run: Run, rows: np.ndarray, title: str, what: str, key: str, beside: bool = False) -> None:
    """Draw a heading, the first tiles and a button that opens all of them in Browse, as a strip or beside a chart."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title)}**", width="stretch")
        label = f"Browse all {len(rows):,}"
        if st.button(label, key=f"browse {key}", icon=":material/grid_view:", type="primary"):
            navigation.browse_rows(run, rows.tolist())
    if key != _FARTHEST:
        _select(run, rows, key)
    st.caption(plain(what))
    score = filters.shown_score(run)
    tiles = session.examples(run).iloc[rows]
    tiles = tiles if key == _FARTHEST else session.ranked(tiles, score)
    with st.container(height=_DRAWER_HEIGHT) if beside else st.container():
        answer = gallery(
            run,
            tiles.head(_BESIDE if beside else _TILES),
            score,
            key=f"tiles {key}",
            name=title,
            layout="grid" if beside else "strip",
            size=_SMALL if beside else 96,
        )
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


@st.cache_resource(max_entries=8, show_spinner=False)
def _farthest(_run: Run, version: str) -> np.ndarray:  # noqa: ARG001 (a cache key)
    """Return rows by their distance from the median point of their label, over the label's median distance."""
    frame = _run.examples
    by_label = frame.groupby("label")
    offsets = frame[["umap_x", "umap_y"]] - by_label[["umap_x", "umap_y"]].transform("median")
    distances = pd.Series(np.hypot(offsets["umap_x"], offsets["umap_y"]))
    usual = distances.groupby(frame["label"]).transform("median")
    return (distances / usual.clip(lower=1e-12)).nlargest(_FAR).index.to_numpy()
