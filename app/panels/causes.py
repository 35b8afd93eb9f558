"""The two causes of sensitivity: how wrong a prediction is, and how few examples hold it; as points and as tiles."""

from __future__ import annotations

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components.gallery import gallery
from samplescope_app.data import navigation, session
from samplescope_app.panels import map_tiles, points
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_title

_NAME = "causes"
_COLUMNS = ("error", "variance")
_TILES = 24
_SHARE = 0.05  # of the examples, that count as those of high error or of high variance
# The corners of the figure: the column that is high, the one that orders these examples, whether its highest come
# first, and what is there.
_CORNERS = {
    "High error, high variance": (
        "error",
        "variance",
        True,
        "The prediction is far from the {label}, and few examples say what to predict here, so that the model depends "
        "most on each: wrong {label}s, and rare kinds.",
    ),
    "High error, low variance": (
        "error",
        "variance",
        False,
        "The prediction is far from the {label}, but many examples settle it: examples that look like others, and some "
        "wrong {label}s. Removing one changes less.",
    ),
    "Low error, high variance": (
        "variance",
        "error",
        False,
        "Few examples are like it, but the prediction agrees with its {label}: rare, yet predicted right. Removing one "
        "changes next to nothing.",
    ),
}


def draw(run: Run) -> None:
    """Draw the errors and variances of all examples, the selected ones and those of a corner as tiles.

    A run without them says why where its sensitivities would be.
    """
    if not {*_COLUMNS, "sensitivity"} <= set(run.scores) or not len(known := _known(run)):
        return
    frame = session.examples(run)
    st.markdown("##### Two causes of sensitivity: error and variance")
    points.open_clicked(run, _NAME)
    color, highlighted = points.color_choice(run, st.columns([3, 3, 4])[:2], _NAME, "sensitivity")
    rows = known[figures.drawn_rows(len(known))]
    places, logarithmic = figures.causes_axes(frame[list(_COLUMNS)].to_numpy(dtype=np.float32))
    layers = points.colored(run, places, rows, color, highlighted)
    key = f"causes {color} {highlighted}"
    figure = figures.causes_figure(
        layers,
        score_title(run.measure("error")),
        score_title(run.measure("variance")),
        logarithmic,
        chosen=points.still_chosen(run, _NAME, key),
        **points.scale_of(run, color),
    )
    alt = (
        f"Prediction error against prediction variance of {len(rows):,} training examples, colored by "
        f"{points.coloring_title(run, color)}; those of a corner follow as tiles"
    )
    drawer = map_tiles.has_drawer(run, _NAME)
    plot, *beside = st.columns([5, 2] if drawer else [1])
    with plot:
        points.draw(run, _NAME, key, layers, figure, alt)
        _explain(run, len(rows), len(known))
    if drawer:
        with beside[0]:
            map_tiles.drawer(run, _NAME)
    map_tiles.what_if_gone(run, _NAME)
    _corner(run)


def _known(run: Run) -> np.ndarray:
    """Return the rows whose error and variance are known."""
    values = session.examples(run)[list(_COLUMNS)].to_numpy(dtype=np.float64)
    return np.flatnonzero(np.isfinite(values).all(axis=1))


def _explain(run: Run, drawn: int, known: int) -> None:
    sample = f"Showing a random sample of {drawn:,} of the {known:,} training examples. " if drawn < known else ""
    moves = (
        "the prediction moves without the example, its sensitivity"
        if run.values is not None
        else "the outputs (logits) move without the example; sensitivity is what that does to the probabilities"
    )
    st.caption(
        f"{sample}Variance times error is how far {moves}. It is equal along a dashed line. Click a point to open the "
        "example, or draw around several with the lasso or the box."
    )


def _corner(run: Run) -> None:
    """Draw the examples of a corner as tiles, which also serves users who cannot use a pointer."""
    name = st.segmented_control(
        "Corner", list(_CORNERS), default=next(iter(_CORNERS)), required=True, key="causes corner",
        persist_state="session",
    )  # fmt: skip
    high, by, highest_first, meaning = _CORNERS[name]
    tiles = session.examples(run).iloc[corner_rows(run, high, by, highest_first)]
    order = "highest" if highest_first else "lowest"
    meaning = meaning.format(label=labels.noun(run))
    st.caption(plain(f"{meaning} Shown are those of the {_SHARE:.0%} with the highest {high}, the {order} {by} first."))
    answer = gallery(run, tiles, by, key=f"causes tiles {name}", name=name, layout="strip", size=96)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


def corner_rows(run: Run, high: str, by: str, highest_first: bool) -> np.ndarray:
    """Return the rows of the first examples of a corner.

    Args:
        run: The run.
        high: Column that is among its highest values there.
        by: Column by which these are ordered.
        highest_first: Whether its highest values come first.
    """
    frame, known = session.examples(run), _known(run)
    count = max(1, round(_SHARE * len(known)))
    top = known[np.argsort(-frame[high].to_numpy()[known], kind="stable")][:count]
    values = frame[by].to_numpy()[top]
    return top[np.argsort(-values if highest_first else values, kind="stable")][:_TILES]
