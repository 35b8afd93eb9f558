"""The confusion matrix of the validation examples, and the training examples that cause the mistakes of a cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import split_name
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import example_tile
from samplescope_app.data import effects, filters, navigation, session
from samplescope_app.data.effects import Ranked
from samplescope_app.data.query import AnyOf, Condition
from samplescope_app.panels import influencers
from samplescope_app.wording.text import plain

_KEY = "mistakes cell"  # session key of the menu
_FIGURE = "confusion"
_BROWSED = 100  # training examples that Browse is opened with
_MOST_CLASSES = 100  # in the figure
_ALL = "all mistakes"


def draw(run: Run) -> None:
    """Draw the panel; nothing where classes were not predicted."""
    if run.values is not None or not run.has_predictions:
        return
    explains = bool(run.effect_methods)
    st.markdown("##### Which training examples cause these mistakes?" if explains else "##### Mistakes")
    table = session.evaluation(run)
    table = table.iloc[: effects.columns(run)] if explains else table[table["split"] == "validation"]
    wrong = table[table["predicted_name"] != table["label_name"]]
    if wrong.empty:
        st.caption(f"The model predicts all {len(table):,} validation examples right.")
        return
    cells = {_ALL: wrong["row"].to_numpy()} | _by_cell(wrong)
    plot, causes = st.columns([4, 5], gap="large")
    with causes:
        chosen = _menu(cells)
    with plot:
        _matrix(run, wrong, len(table))
    with causes:
        if explains:
            _causes(run, cells[chosen])
        _mistaken(run, cells[chosen])


def _by_cell(wrong: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the rows of the mistakes by cell, the most frequent first."""
    groups = wrong.groupby(["label_name", "predicted_name"], observed=True)["row"]
    found = {_cell_name(*map(str, pair)): rows.to_numpy() for pair, rows in groups}
    return dict(sorted(found.items(), key=lambda cell: -len(cell[1])))


def _cell_name(label: str, predicted: str) -> str:
    return f"{label} taken for {predicted}"


def _menu(cells: dict[str, np.ndarray]) -> str:
    if st.session_state.get(_KEY) not in cells:
        st.session_state[_KEY] = list(cells)[min(1, len(cells) - 1)]  # none was chosen, or in another run
    return st.selectbox(
        "Mistakes",
        list(cells),
        format_func=lambda name: f"{name} ({len(cells[name]):,})",
        key=_KEY,
        persist_state="session",
    )


def _matrix(run: Run, wrong: pd.DataFrame, evaluated: int) -> None:
    """Draw the numbers of mistakes by label and prediction; a click chooses a cell."""
    names = run.class_names[:_MOST_CLASSES]
    counts = pd.crosstab(wrong["label_name"], wrong["predicted_name"]).reindex(index=names, columns=names, fill_value=0)
    matrix = counts.astype("float64").where(counts > 0)

    def clicked() -> None:
        points = st.session_state[_FIGURE].selection.points
        if points:
            row, column = divmod(points[0]["point_index"], len(names))
            if counts.iat[row, column]:
                st.session_state[_KEY] = _cell_name(names[row], names[column])

    shown = [(one, other) for one in names for other in names if st.session_state.get(_KEY) == _cell_name(one, other)]
    chart.chart(
        figures.heatmap(matrix, "label", "prediction", shown[0] if shown else None, "mistakes"),
        key=_FIGURE,
        on_select=clicked,
        selection_mode="points",
        alt="Number of wrong predictions of validation examples, by label and prediction",
    )
    st.caption(f"{len(wrong):,} of {evaluated:,} validation examples are predicted wrong. Click a cell to choose it.")


def _causes(run: Run, rows: np.ndarray) -> None:
    """Draw the mistakes, and the training examples with the strongest mean effect on them."""
    method = influencers.chosen_method(run)
    unit = effects.unit(run, method)
    values = effects.on_evaluation_examples(run, method, tuple(rows.tolist()))
    helpful, harmful = effects.strongest(values, _BROWSED)
    what = (
        "Mean effect of each training example on these mistakes"
        if method in run.imported
        else "Mean change of the loss on these mistakes without a training example"
    )
    st.caption(f"{what}, by {plain(effects.title(run, method))}. Look for wrong labels among those that cause them.")
    influencers.strip(
        run, influencers.effect_tiles(run, _first(harmful), unit), "Cause them most", unit, "cause", "None."
    )
    if len(harmful.rows) and st.button(
        f"Browse the first {len(harmful.rows):,}", key="browse causes", icon=":material/grid_view:"
    ):
        navigation.browse_rows(run, harmful.rows.tolist())
    influencers.strip(
        run, influencers.effect_tiles(run, _first(helpful), unit), "Prevent them most", unit, "prevent", "None."
    )


def _mistaken(run: Run, rows: np.ndarray) -> None:
    """Draw the mistakes, and buttons that open them, and the training examples that are taken likewise, in Browse."""
    mistakes, score = session.evaluation(run).iloc[rows], session.scores_of(run, "evaluation")[:1]
    for name in score:  # those whose own labels are the least probable come first
        mistakes = session.ranked(mistakes, name, session.suspicious_end(run, name))
    shown = [
        example_tile(run, row, (score or run.scores)[0]) for row in mistakes.head(influencers.COUNT).to_dict("records")
    ]
    what = run.measure(score[0]).title_in_sentence if score else ""
    influencers.strip(run, shown, "The mistakes", what, "mistake", "None.")
    conditions = _conditions(mistakes)
    with st.container(horizontal=True):
        for split in ("validation", "train") if score else ("train",):
            view = replace(filters.sorted_by(run, (score or run.scores)[0]), split=split, conditions=conditions)
            count = len(filters.matching(run, view))
            label = f"Browse all {count:,} in {split_name(split)}"
            if count and st.button(label, key=f"browse mistakes {split}", icon=":material/grid_view:"):
                navigation.browse(run, view)


def _conditions(mistakes: pd.DataFrame) -> tuple[Condition, ...]:
    """Return the filters of some mistakes: all wrong predictions, of one label and for one prediction if they are."""
    pairs = {"class": mistakes["label_name"], "predicted": mistakes["predicted_name"]}
    one = [AnyOf(name, (str(names.iloc[0]),)) for name, names in pairs.items() if names.nunique() == 1]
    return (*one, AnyOf("prediction", ("wrong",)))


def _first(ranked: Ranked) -> Ranked:
    return Ranked(ranked.rows[: influencers.COUNT], ranked.values[: influencers.COUNT])
