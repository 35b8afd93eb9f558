"""Training examples as points: what colors them, and which are selected or opened with the pointer."""

from __future__ import annotations

import functools
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import VALUE_RANGE
from attribution_core.runs.store import SplitName
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.pointer import pointer
from samplescope_app.data import navigation, session
from samplescope_app.figures import Layer
from samplescope_app.wording import labels
from samplescope_app.wording.text import score_help, score_title

# Tools of a chart whose points can be selected. Clicks open a point only while none of the two selects by default.
_TOOLS = ("pan2d", "lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "resetScale2d")
_KEYS = "Arrow keys move to the nearest point in that direction, Enter opens it"
_WRONG, _CHANGED, _DECISION, _TWICE = "wrong prediction", "changed label", "decision", "near-duplicates"


def color_choice(run: Run, columns: list[Any], name: str, first: str | None = None) -> tuple[str, str | None]:
    """Draw the options of the coloring, and return it with the highlighted category.

    Args:
        run: The run.
        columns: Two columns to draw into.
        name: Name of the chart, which begins the keys.
        first: The coloring to begin with; by default the label.
    """
    options, key = _colorings(run), f"{name} color"
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)  # another run's
    shown = st.session_state.get(key, first)
    color = columns[0].selectbox(
        "Color by",
        options,
        index=options.index(first) if first in options else 0,
        format_func=functools.partial(coloring_title, run),
        key=key,
        persist_state="session",
        help=score_help(run.measure(shown)) if shown in run.scores else None,
    )
    highlighted = None
    if color == "label_name" or color in labels.kinds(run):
        names = sorted(session.examples(run)[color].unique())
        many = len(names) > figures.MOST_KINDS
        highlighted = columns[1].selectbox(
            "Highlight",
            names,
            index=0 if many else None,
            placeholder="all",
            key=f"{name} highlight {run.id} {color}",
            persist_state="session",
        )
        if highlighted is None and many:
            highlighted = names[0]
    return color, highlighted


def _colorings(run: Run) -> list[str]:
    columns = ["label_name", _WRONG] if run.values is None else ["label", VALUE_RANGE]
    if run.manifest.details.get("nearest_similarity", {}).get("near_duplicates"):
        columns.append(_TWICE)
    if "original_label" in run.groups:
        columns.append(_CHANGED)
    return list(dict.fromkeys([*columns, _DECISION, *labels.kinds(run), *run.scores]))


def coloring_title(run: Run, name: str) -> str:
    """Return the name of a coloring for people."""
    if name in run.scores:
        return score_title(run.measure(name))
    if name in ("label_name", "label"):
        return "class" if run.values is None else run.values.name
    return f"changed {labels.noun(run)}" if name == _CHANGED else labels.group_title(run, name)


def colored(run: Run, places: np.ndarray, rows: np.ndarray, color: str, highlighted: str | None) -> list[Layer]:
    """Return the layers of a coloring.

    Args:
        run: The run.
        places: Coordinates of all training examples, ``[n, 2]``.
        rows: Rows to draw.
        color: The coloring.
        highlighted: Category to draw against gray.
    """
    frame = session.examples(run)
    if is_scale(run, color):
        return figures.scored(places, rows, frame[color].to_numpy())
    categories, back = _categories(run, frame, color, highlighted)
    return figures.kinds(places, rows, categories, back)


def is_scale(run: Run, color: str) -> bool:
    """Return whether a coloring is by numbers, on a scale."""
    return color == "label" or color in run.scores


def scale_of(run: Run, color: str) -> dict[str, Any]:
    """Return how a figure draws the color scale: its title, and whether zero is its center."""
    measure = run.measure(color) if color in run.scores else None
    title = coloring_title(run, color) if is_scale(run, color) else ""
    return {"score_title": title, "signed": measure is not None and measure.signed}


def _categories(run: Run, frame: pd.DataFrame, color: str, highlighted: str | None) -> tuple[pd.Series, str | None]:
    """Return the category of each training example, and the category to draw in gray."""
    if color == _WRONG:
        return _flag(~frame["correct"].to_numpy(dtype=bool), "wrong", "right")
    if color == _CHANGED:
        return _flag(labels.changed(run), "changed", "unchanged")
    if color == _TWICE:
        pairs = run.near_duplicates
        return _flag(frame["id"].isin([*pairs["id"], *pairs["other"]]).to_numpy(), "near-duplicate", "others")
    if color == _DECISION:
        names = list(labels.DECISION_NAMES.values())
        values = frame["action"].map(labels.DECISION_NAMES)
        return pd.Series(pd.Categorical(values, categories=names, ordered=True)), names[0]
    return figures.as_categories(frame[color], highlighted), None if highlighted is None else "others"


def _flag(flags: np.ndarray, name: str, other: str) -> tuple[pd.Series, str]:
    return pd.Series(pd.Categorical(np.where(flags, name, other), categories=[name, other], ordered=True)), other


# -- The selection -----------------------------------------------------------------------------------------------------


def selected_rows(run: Run, name: str) -> np.ndarray | None:
    """Return the rows that were selected with the lasso or the box on a chart; None without a selection."""
    return st.session_state.get(_chosen_key(run, name))


def still_chosen(run: Run, name: str, key: str) -> np.ndarray | None:
    """Return the rows to draw as selected on a chart with this key.

    A newly drawn chart shows the selection of the previous one; from then on the browser keeps it.
    """
    return selected_rows(run, name) if key not in st.session_state else None


def draw(run: Run, name: str, key: str, layers: list[Layer], figure: go.Figure, alt: str) -> None:
    """Draw a chart whose points open their example and can be selected.

    Args:
        run: The run.
        name: Name of the chart.
        key: Streamlit's key of the chart.
        layers: Its first curves.
        figure: The chart.
        alt: What it shows, in words.
    """
    with st.container(key=f"plot {name}"):
        chart.chart(
            figure,
            key=key,
            tools=_TOOLS,
            on_select=functools.partial(_note_selection, run, name, key, layers),
            selection_mode=("points", "lasso", "box"),
            alt=alt,
        )
    opened = pointer(
        run,
        [(layer.table, layer.rows) for layer in layers],
        place=f"plot {name}",
        name=f"{alt}. {_KEYS}",
        key=f"pointer {name}",
    )
    if opened is not None:
        _open(run, *opened)


def _note_selection(run: Run, name: str, key: str, layers: list[Layer]) -> None:
    """Note the clicked point, to open it, or the selected points, to show them below the chart: a callback."""
    selection = st.session_state[key].selection
    on_layers = [point for point in selection.points if point["curve_number"] < len(layers)]
    found = [(layers[point["curve_number"]], point["point_index"]) for point in on_layers]
    if selection.lasso or selection.box:
        rows = np.array([layer.rows[at] for layer, at in found if layer.table == "train"], dtype=np.int64)
        st.session_state[_chosen_key(run, name)] = np.unique(rows)
    elif found:
        layer, at = found[0]
        st.session_state[f"{name} opened"] = layer.table, int(layer.rows[at])
    else:
        st.session_state.pop(_chosen_key(run, name), None)


def open_clicked(run: Run, name: str) -> None:
    """Open the clicked example, which a callback cannot do."""
    if f"{name} opened" not in st.session_state:
        return
    _open(run, *st.session_state.pop(f"{name} opened"))


def _open(run: Run, table: SplitName, row: int) -> NoReturn:
    if table == "evaluation":
        navigation.open_evaluation(run, row)
    navigation.open_example(run, run.examples["id"].iloc[row])


def _chosen_key(run: Run, name: str) -> str:
    return f"{name} chosen {run.version}"
