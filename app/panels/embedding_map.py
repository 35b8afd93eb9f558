"""The map of the training examples: its coloring, its figure and its selection."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import VALUE_RANGE
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import navigation, session
from samplescope_app.figures import Layer
from samplescope_app.panels import influencers
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_help, score_title

_TOOLS = ("pan2d", "lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "resetScale2d")
_WRONG, _CHANGED, _DECISION, _TWICE = "wrong prediction", "changed label", "decision", "near-duplicates"
_EVALUATION_SYMBOLS = {"validation": ("#E69F00", "circle-open"), "test": ("#56B4E9", "square-open")}


def choices(run: Run) -> tuple[str, str | None, bool]:
    """Draw the options; return the coloring, the highlighted category and whether to draw evaluation examples."""
    columns = st.columns([3, 3, 4], vertical_alignment="bottom")
    options = _colorings(run)
    if st.session_state.get("map color") not in options:
        st.session_state.pop("map color", None)  # another run's
    shown = st.session_state.get("map color")
    color = columns[0].selectbox(
        "Color by",
        options,
        format_func=functools.partial(_coloring_title, run),
        key="map color",
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
            key=f"map highlight {run.id} {color}",
            persist_state="session",
        )
        if highlighted is None and many:
            highlighted = names[0]
    with_evaluation = "umap_x" in run.evaluation.columns and columns[2].toggle(
        "Show validation and test examples", key="map evaluation", persist_state="session"
    )
    return color, highlighted, with_evaluation


def _colorings(run: Run) -> list[str]:
    columns = ["label_name", _WRONG] if run.values is None else ["label", VALUE_RANGE]
    if run.manifest.details.get("nearest_similarity", {}).get("near_duplicates"):
        columns.append(_TWICE)
    if "original_label" in run.groups:
        columns.append(_CHANGED)
    return list(dict.fromkeys([*columns, _DECISION, *labels.kinds(run), *run.scores]))


def _coloring_title(run: Run, name: str) -> str:
    if name in run.scores:
        return score_title(run.measure(name))
    if name in ("label_name", "label"):
        return "class" if run.values is None else run.values.name
    return f"changed {labels.noun(run)}" if name == _CHANGED else labels.group_title(run, name)


def draw(run: Run, color: str, highlighted: str | None, with_evaluation: bool) -> None:
    """Draw the map with the chosen coloring."""
    frame = session.examples(run)
    rows = figures.drawn_rows(len(frame))
    places = _places(frame)
    by_number = color == "label" or color in run.scores
    if by_number:
        layers = figures.scored(places, rows, frame[color].to_numpy())
    else:
        categories, back = _categories(run, frame, color, highlighted)
        layers = figures.kinds(places, rows, categories, back)
    layers = [*(_evaluation_layers(run) if with_evaluation else []), *layers]
    key = f"map {color} {highlighted} {with_evaluation}"
    # A newly drawn map shows the selection of the previous one; from then on the browser keeps it.
    chosen = st.session_state.get(chosen_key(run)) if key not in st.session_state else None
    measure = run.measure(color) if color in run.scores else None
    figure = figures.map_figure(
        layers,
        score_title=_coloring_title(run, color) if by_number else "",
        signed=measure is not None and measure.signed,
        chosen=chosen,
    )
    if color == "label_name" and highlighted is None:
        figures.name_places(figure, layers)
    chart.chart(
        figure,
        key=key,
        tools=_TOOLS,
        on_select=functools.partial(_selected, run, key, layers),
        selection_mode=("points", "lasso", "box"),
        alt=f"Map of {len(rows):,} training examples, colored by {_coloring_title(run, color)}; "
        f"{'those far from the others of their class' if run.values is None else 'those predicted worst'} follow as "
        "tiles",
    )
    if len(rows) < len(frame):
        st.caption(f"Showing a random sample of {len(rows):,} of the {len(frame):,} training examples.")


def _places(table: pd.DataFrame) -> np.ndarray:
    return table[["umap_x", "umap_y"]].to_numpy(dtype=np.float32)


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


def _evaluation_layers(run: Run) -> list[Layer]:
    table, layers = run.evaluation, []
    drawn, places = figures.drawn_rows(len(table)), _places(table)
    for split, (color, symbol) in _EVALUATION_SYMBOLS.items():
        rows = drawn[(table["split"] == split).to_numpy()[drawn]]
        if len(rows):
            layers.append(Layer(split, rows, places[rows], color, symbol, table="evaluation"))
    return layers


def chosen_key(run: Run) -> str:
    """Return the session key of the rows selected on the map."""
    return f"map chosen {run.version}"


def _selected(run: Run, key: str, layers: list[Layer]) -> None:
    """Note the clicked point, to open it, or the selected points, to show them below the map."""
    selection = st.session_state[key].selection
    found = [(layers[point["curve_number"]], point["point_index"]) for point in selection.points]
    if selection.lasso or selection.box:
        rows = np.array([layer.rows[at] for layer, at in found if layer.table == "train"], dtype=np.int64)
        st.session_state[chosen_key(run)] = np.unique(rows)
    elif found:
        layer, at = found[0]
        st.session_state["map opened"] = layer.table, int(layer.rows[at])
    else:
        st.session_state.pop(chosen_key(run), None)


def open_clicked(run: Run) -> None:
    """Open the clicked example, which a callback cannot do."""
    if "map opened" not in st.session_state:
        return
    table, row = st.session_state.pop("map opened")
    if table == "evaluation":
        navigation.open_evaluation(run, row)
    navigation.open_example(run, run.examples["id"].iloc[row])


def explain_missing(run: Run) -> None:
    """Show why the run has no map, and offer to compute it if that is possible."""
    reason = run.manifest.details.get("map", {}).get("skipped")
    if reason:
        st.info(f"Map skipped: {plain(reason)}.", icon=":material/scatter_plot:")
        return
    st.info("This run has no map yet.", icon=":material/scatter_plot:")
    influencers.finish(run, "map")
