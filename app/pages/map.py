"""Map: the training examples side by side as the trained network sees them."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import VALUE_RANGE
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import session
from samplescope_app.figures import Layer
from samplescope_app.panels import influencers, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain, score_help, score_title

_TILES = 24
_FAR = 100  # of the farthest examples
_TOOLS = ("pan2d", "lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "resetScale2d")
_WRONG, _CHANGED, _DECISION, _TWICE = "wrong prediction", "changed label", "decision", "near-duplicates"
_EVALUATION_SYMBOLS = {"validation": ("#E69F00", "circle-open"), "test": ("#56B4E9", "square-open")}
_EXPLANATION = (
    "Every point is a training example; those close together look alike to the trained network (UMAP of what its last "
    "layer is given). The axes and long distances mean nothing. Click a point to open it; to choose many, take the "
    "lasso or the box at the figure's upper right and draw around them."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Map", _EXPLANATION)
    if not run.has_map:
        _without_map(run)
        return
    _leave(run)
    colour, highlighted, with_evaluation = _choices(run)
    _map(run, colour, highlighted, with_evaluation)
    _chosen(run)
    _far(run)


def _without_map(run: Run) -> None:
    """Why there is none; what to do about it, where something can be done."""
    reason = run.manifest.details.get("map", {}).get("skipped")
    if reason:
        st.info(f"This run has no map: {plain(reason)}.", icon=":material/scatter_plot:")
        return
    st.info("This run has no map yet.", icon=":material/scatter_plot:")
    influencers.finish(run, "map")


def _choices(run: Run) -> tuple[str, str | None, bool]:
    """What the colours mean, the one category that they are about, and whether the evaluation examples are drawn."""
    columns = st.columns([3, 3, 4], vertical_alignment="bottom")
    options = _colourings(run)
    if st.session_state.get("map colour") not in options:
        st.session_state.pop("map colour", None)  # another run's
    shown = st.session_state.get("map colour")
    colour = columns[0].selectbox(
        "Colour by",
        options,
        format_func=functools.partial(_colouring_title, run),
        key="map colour",
        persist_state="session",
        help=score_help(run.measure(shown)) if shown in run.scores else None,
    )
    highlighted = None
    if colour == "label_name" or colour in labels.kinds(run):
        names = sorted(session.examples(run)[colour].unique())
        many = len(names) > figures.MOST_KINDS
        highlighted = columns[1].selectbox(
            "Highlight",
            names,
            index=0 if many else None,
            placeholder="all",
            key=f"map highlight {run.id} {colour}",
            persist_state="session",
        )
        if highlighted is None and many:
            highlighted = names[0]
    with_evaluation = "umap_x" in run.evaluation.columns and columns[2].toggle(
        "Show validation and test examples", key="map evaluation", persist_state="session"
    )
    return colour, highlighted, with_evaluation


def _colourings(run: Run) -> list[str]:
    columns = ["label_name", _WRONG] if run.values is None else ["label", VALUE_RANGE]
    if run.manifest.details.get("nearest_similarity", {}).get("near_duplicates"):
        columns.append(_TWICE)
    if "original_label" in run.groups:
        columns.append(_CHANGED)
    return list(dict.fromkeys([*columns, _DECISION, *labels.kinds(run), *run.scores]))


def _colouring_title(run: Run, name: str) -> str:
    if name in run.scores:
        return score_title(run.measure(name))
    if name in ("label_name", "label"):
        return "class" if run.values is None else run.values.name
    return f"changed {labels.noun(run)}" if name == _CHANGED else labels.group_title(run, name)


def _map(run: Run, colour: str, highlighted: str | None, with_evaluation: bool) -> None:
    frame = session.examples(run)
    rows = figures.drawn_rows(len(frame))
    places = _places(frame)
    by_number = colour == "label" or colour in run.scores
    if by_number:
        layers = figures.scored(places, rows, frame[colour].to_numpy())
    else:
        categories, back = _categories(run, frame, colour, highlighted)
        layers = figures.kinds(places, rows, categories, back)
    layers = [*(_evaluation_layers(run) if with_evaluation else []), *layers]
    key = f"map {colour} {highlighted} {with_evaluation}"
    # A map that was just drawn anew shows what was chosen on the one before; then the browser keeps it.
    chosen = st.session_state.get(_chosen_key(run)) if key not in st.session_state else None
    measure = run.measure(colour) if colour in run.scores else None
    figure = figures.map_figure(
        layers,
        score_title=_colouring_title(run, colour) if by_number else "",
        signed=measure is not None and measure.signed,
        chosen=chosen,
    )
    if colour == "label_name" and highlighted is None:
        figures.name_places(figure, layers)
    chart.chart(
        figure,
        key=key,
        tools=_TOOLS,
        on_select=functools.partial(_selected, run, key, layers),
        selection_mode=("points", "lasso", "box"),
        alt=f"Map of {len(rows):,} training examples, coloured by {_colouring_title(run, colour)}; "
        f"{'those far from the others of their label' if run.values is None else 'those predicted worst'} follow as "
        "tiles",
    )
    if len(rows) < len(frame):
        st.caption(f"{len(rows):,} of {len(frame):,} training examples are drawn, chosen at random.")


def _places(table: pd.DataFrame) -> np.ndarray:
    return table[["umap_x", "umap_y"]].to_numpy(dtype=np.float32)


def _categories(run: Run, frame: pd.DataFrame, colour: str, highlighted: str | None) -> tuple[pd.Series, str | None]:
    """The category of each training example, and the one to draw in grey."""
    if colour == _WRONG:
        return _flag(~frame["correct"].to_numpy(dtype=bool), "wrong", "right")
    if colour == _CHANGED:
        return _flag(labels.changed(run), "changed", "unchanged")
    if colour == _TWICE:
        pairs = run.near_duplicates
        return _flag(frame["id"].isin([*pairs["id"], *pairs["other"]]).to_numpy(), "near-duplicate", "others")
    if colour == _DECISION:
        names = list(session.DECISION_NAMES.values())
        values = frame["action"].map(session.DECISION_NAMES)
        return pd.Series(pd.Categorical(values, categories=names, ordered=True)), names[0]
    return figures.as_categories(frame[colour], highlighted), None if highlighted is None else "others"


def _flag(flags: np.ndarray, name: str, other: str) -> tuple[pd.Series, str]:
    return pd.Series(pd.Categorical.from_codes((~flags).astype(int), categories=[name, other], ordered=True)), other


def _evaluation_layers(run: Run) -> list[Layer]:
    table, layers = run.evaluation, []
    drawn, places = figures.drawn_rows(len(table)), _places(table)
    for split, (colour, symbol) in _EVALUATION_SYMBOLS.items():
        rows = drawn[(table["split"] == split).to_numpy()[drawn]]
        if len(rows):
            layers.append(Layer(split, rows, places[rows], colour, symbol, table="evaluation"))
    return layers


def _chosen_key(run: Run) -> str:
    return f"map chosen {run.version}"


def _selected(run: Run, key: str, layers: list[Layer]) -> None:
    """Notes what was clicked, to be opened, or what was drawn around, to be shown below."""
    selection = st.session_state[key].selection
    found = [(layers[point["curve_number"]], point["point_index"]) for point in selection.points]
    if selection.lasso or selection.box:
        rows = np.array([layer.rows[at] for layer, at in found if layer.table == "train"], dtype=np.int64)
        st.session_state[_chosen_key(run)] = np.unique(rows)
    elif found:
        layer, at = found[0]
        st.session_state["map opened"] = layer.table, int(layer.rows[at])
    else:
        st.session_state.pop(_chosen_key(run), None)


def _leave(run: Run) -> None:
    """Goes where a click on a point leads: a callback can't."""
    if "map opened" not in st.session_state:
        return
    table, row = st.session_state.pop("map opened")
    if table == "evaluation":
        session.open_evaluation(run, row)
    session.open_example(run, run.examples["id"].iloc[row])


def _chosen(run: Run) -> None:
    """What lies within the lasso or the box."""
    rows = st.session_state.get(_chosen_key(run))
    if rows is None:
        return
    if not len(rows):
        st.info("No training example lies there.", icon=":material/filter_alt_off:")
        return
    members = session.examples(run).iloc[rows]
    what = _labels_of(members) if run.values is None else _values_of(run, members)
    _summary(run, rows, f"{len(rows):,} chosen", what, "chosen")


def _labels_of(members: pd.DataFrame) -> str:
    """Which labels some examples have, and how many are predicted otherwise."""
    counts = members["label_name"].value_counts()
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.head(5).items())
    others = f" and {len(counts) - 5:,} more labels" if len(counts) > 5 else ""
    return f"{shown}{others}; {int((~members['correct'].astype(bool)).sum()):,} wrong predictions"


def _values_of(run: Run, members: pd.DataFrame) -> str:
    """Which values some examples have, and how far off their predictions are."""
    mean, off = (labels.value_text(run, value) for value in (members["label"].mean(), members["residual"].abs().mean()))
    return f"{parts.value_range(run, members['label'])}, {mean} on average; predictions are off by {off} on average"


def _far(run: Run) -> None:
    """The examples to doubt: the map for those who can't point at it."""
    if run.values is not None:
        if (worst := labels.doubtful(run)) is not None:
            ranked = session.ranked(session.examples(run), worst.score, worst.descending).head(_FAR)
            what = f"Highest {run.measure(worst.score).title_in_sentence} first: wrong values and odd examples"
            _summary(run, ranked["row"].to_numpy(), worst.title, what, "far")
        return
    rows = _farthest(run, run.version)
    what = (
        "Farthest on the map from the middle of their label, in multiples of what is usual there, farthest first: "
        "wrong labels and odd examples"
    )
    _summary(run, rows, "Far from the others of their label", what, "far")


def _summary(run: Run, rows: np.ndarray, title: str, what: str, key: str) -> None:
    """A heading, the first tiles, and the way to all of them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title)}**", width="stretch")
        label = f"Browse these {len(rows):,}"
        if st.button(label, key=f"map browse {key}", icon=":material/grid_view:", type="primary"):
            session.browse_by(score=session.filters(run).score, selection=tuple(rows.tolist()))
            session.go("browse", run)
    st.caption(plain(what))
    score = session.filters(run).score
    tiles = session.examples(run).iloc[rows]
    tiles = (tiles if key == "far" else session.ranked(tiles, score)).head(_TILES)
    answer = gallery(run, tiles, score, key=f"map tiles {key}", name=title, layout="strip", size=96)
    if answer.opened is not None:
        session.open_example(run, answer.opened)


@st.cache_resource(max_entries=8, show_spinner=False)
def _farthest(_run: Run, version: str) -> np.ndarray:  # noqa: ARG001 (a cache key)
    """Rows by their distance from the median place of their label, over the label's median distance."""
    frame = _run.examples
    by_label = frame.groupby("label")
    offsets = frame[["umap_x", "umap_y"]] - by_label[["umap_x", "umap_y"]].transform("median")
    distances = pd.Series(np.hypot(offsets["umap_x"], offsets["umap_y"]))
    usual = distances.groupby(frame["label"]).transform("median")
    return (distances / usual.clip(lower=1e-12)).nlargest(_FAR).index.to_numpy()


main()
