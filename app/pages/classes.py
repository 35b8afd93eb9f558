"""Classes: what the training examples of each class do to each class, and the pairs of examples behind it.

Of a regression, ranges of the values stand in their place.
"""

from __future__ import annotations

import html
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import tiles
from samplescope_app.data import effects, session
from samplescope_app.data.effects import Ranked
from samplescope_app.panels import curves, influencers, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain

_KEYS = {"from": "class from", "to": "class to"}  # side of the chosen cell in the address -> key of its menu
_SHOWN = "cell in the address"  # of the session: what this page wrote there last
_MOST_CLASSES = 100  # in a figure
_PAIRS = 6  # of either sign
_SIZE = 84
_EXPLANATION = (
    "Which {many} help each other and which compete: the mean effect that training examples of one {one} (rows) have "
    "on the loss of validation examples of another (columns). Click a cell to see the pairs of examples behind it."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Classes", _EXPLANATION.format(many=plain(labels.strata(run)), one=_one(run)))
    if run.class_effects.empty:
        _without_effects(run)
    else:
        _effects(run)
    left, right = st.columns(2, gap="large")
    with left:
        if not curves.points(run, "loco").empty:
            curves.draw(run, "loco")
    with right:
        _influential(run)


def _one(run: Run) -> str:
    return "class" if run.values is None else "range"


def _many(run: Run) -> str:
    return "classes" if run.values is None else "ranges"


def _without_effects(run: Run) -> None:
    """Why there is nothing to draw, and what adds it."""
    st.info(
        f"This run has no effects of {_many(run)} on {_many(run)}: they are means of the effects of single examples.",
        icon=":material/grid_off:",
    )
    for name, facts in run.manifest.details.items():
        if "skipped" in facts and name in run.known_measures:
            st.caption(f"Without {plain(run.measure(name).title_in_sentence)}: {plain(facts['skipped'])}.")
    influencers.finish(run, "effects")


def _effects(run: Run) -> None:
    """The matrix, the chosen cell and the pairs behind it."""
    select, toggle = st.columns([3, 5], gap="large", vertical_alignment="bottom")
    with select:
        method = influencers.method_select(run)
    with toggle:
        unit = effects.unit(run, method)
        raw = st.toggle(f"In {plain(unit)}, not normalised", key="classes raw", persist_state="session")
    rows = run.class_effects[run.class_effects["method"] == method]
    if rows.empty:
        _without_effects(run)
        return
    wide = rows.pivot_table(
        index="train_class", columns="evaluation_class", values="effect" if raw else "normalised", dropna=False
    ).reindex(index=run.strata_names, columns=run.strata_names)
    plot, chosen = st.columns([5, 4], gap="large")
    with chosen:
        cell = _cell(run)
        if cell is not None:
            _in_words(run, rows, method, cell)
    with plot:
        _matrix(run, wide.iloc[:_MOST_CLASSES, :_MOST_CLASSES], method, raw, cell)
        if len(wide) > _MOST_CLASSES:
            st.caption(f"The first {_MOST_CLASSES} of {len(wide):,} classes; the menus have them all.")
    if cell is not None:
        _pairs(run, method, cell)


def _matrix(run: Run, matrix: pd.DataFrame, method: str, raw: bool, cell: tuple[str, str] | None) -> None:
    key = f"class effects {method}"

    def clicked() -> None:
        points = st.session_state[key].selection.points
        if points:
            row, column = divmod(points[0]["point_index"], matrix.shape[1])
            st.session_state[_KEYS["from"]], st.session_state[_KEYS["to"]] = matrix.index[row], matrix.columns[column]

    chart.chart(
        figures.heatmap(
            matrix,
            f"training examples of{_column(run)}",
            f"validation examples of{_column(run)}",
            cell,
            effects.unit(run, method) if raw else "",
        ),
        key=key,
        on_select=clicked,
        selection_mode="points",
        alt=f"{effects.title(run, method)}: mean effect of each training {_one(run)} on each validation {_one(run)}",
    )
    scale = (
        f"In {effects.unit(run, method)}."
        if raw
        else "Each mean is divided by the square root of its row sum times its column sum."
    )
    why = "" if method in run.imported else ", for the loss rises without them"
    alike = ", as classes that look alike do" if run.values is None else ""
    st.caption(
        f"Blue, positive: they help{why}. Orange, negative: they compete{alike}. {scale} *HYDRA, eq. 23, figure 2*"
    )


def _column(run: Run) -> str:
    """What the ranges are of, behind "of" in an axis title."""
    return "" if run.values is None else f" {html.escape(run.values.name, quote=False)}"


def _cell(run: Run) -> tuple[str, str] | None:
    """The chosen cell: by a click, by the menus, or from the address."""
    _take_address(run)
    columns = st.columns(2)
    chosen = [
        column.selectbox(
            f"{split} {_one(run)}",
            run.strata_names,
            index=None,
            placeholder=_one(run),
            key=_KEYS[side],
            persist_state="session",
        )
        for column, split, side in zip(columns, ("Training", "Validation"), _KEYS, strict=True)
    ]
    _show_address(chosen)
    if None in chosen:
        st.caption(
            f"Click a cell, or choose both {_many(run)} here, to see the pairs of examples of the strongest effects."
        )
        return None
    return chosen[0], chosen[1]


def _take_address(run: Run) -> None:
    """Follows a link to a cell.

    Not by binding the menus to the address: that forgets them when the page is left, and Back would not find the cell.
    """
    asked = [st.query_params.get(side) for side in _KEYS]
    if asked != st.session_state.get(_SHOWN):
        for key, name in zip(_KEYS.values(), asked, strict=True):
            if name in run.strata_names:
                st.session_state[key] = name
    for key in _KEYS.values():
        if st.session_state.get(key) not in run.strata_names:
            st.session_state.pop(key, None)  # another run's


def _show_address(chosen: list[str | None]) -> None:
    for side, name in zip(_KEYS, chosen, strict=True):
        if name is not None:
            st.query_params[side] = name
        else:
            st.query_params.pop(side, None)
    st.session_state[_SHOWN] = chosen


def _in_words(run: Run, rows: pd.DataFrame, method: str, cell: tuple[str, str]) -> None:
    """Both values of the cell, and what their sign means."""
    found = rows[(rows["train_class"] == cell[0]) & (rows["evaluation_class"] == cell[1])]
    if found.empty or not np.isfinite(found["effect"].iloc[0]):
        st.caption(f"One of the two {_many(run)} has no examples on that side.")
        return
    effect, normalised = found["effect"].iloc[0], found["normalised"].iloc[0]
    one, other = (f"**{plain(name)}**" for name in cell)
    size = f"{plain(format_score(abs(effect)))} {plain(effects.unit(run, method))}"
    without = f"Without one training example of {one}, the loss on a validation example of {other}"
    said = f"{without} {'rises' if effect > 0 else 'falls'} by {size} on average"
    if method in run.imported:  # of which only the sign is known
        said = f"One training example of {one} does {size} to a validation example of {other} on average"
    st.markdown(
        f"{said}: {one} "
        f"**{'helps' if effect > 0 else 'harms'}** {other if cell[0] != cell[1] else 'itself'}. "
        f":gray[Normalised: {plain(influencers.format_effect(normalised))}]"
    )


def _pairs(run: Run, method: str, cell: tuple[str, str]) -> None:
    """The strongest effects in a cell: a training image, and the validation image that it helps or harms."""
    pairs = run.class_pairs
    pairs = pairs[
        (pairs["method"] == method) & (pairs["train_class"] == cell[0]) & (pairs["evaluation_class"] == cell[1])
    ]
    one, other = (plain(name) for name in cell)
    st.markdown(f"##### Strongest pairs: {one} in training → {other} in validation")
    if pairs.empty:
        st.caption("This run keeps no single pairs behind this cell: score it again to add them.")
        return
    signs = {"Most helpful": pairs[pairs["effect"] > 0], "Most harmful": pairs[pairs["effect"] < 0]}
    for column, (title, members) in zip(st.columns(2, gap="large"), signs.items(), strict=True):
        with column:
            st.markdown(f"**{title}** :gray[{plain(effects.unit(run, method))}]")
            if members.empty:
                st.caption("None among the strongest pairs.")
            with st.container(horizontal=True, gap="small"):
                for place, pair in enumerate(members.head(_PAIRS).itertuples()):
                    _pair(run, pair.train_row, pair.evaluation_row, pair.effect, method, f"{title} {place + 1}")


def _pair(run: Run, train_row: int, evaluation_row: int, effect: float, method: str, name: str) -> None:
    """Two tiles in one frame; each opens its example."""
    unit = effects.unit(run, method)
    one = influencers.effect_tiles(run, Ranked(np.array([train_row]), np.array([effect])), unit)[0]
    other = influencers.evaluation_tiles(run, Ranked(np.array([evaluation_row]), np.array([effect])), unit)[0]
    shown = [
        replace(one, id="train", aside="", note="training"),
        replace(other, id="evaluation", aside="", score="", tone="", note="validation"),
    ]
    with st.container(border=True, width=2 * _SIZE + 56):
        answer = tiles(shown, key=f"pair {name}", name=name, size=_SIZE)
    if answer.opened == "train":
        session.open_example(run, run.examples["id"].iloc[train_row])
    elif answer.opened == "evaluation":
        session.open_evaluation(run, evaluation_row)


def _influential(run: Run) -> None:
    """The single examples that do most."""
    if "contribution" not in run.scores:
        return
    st.markdown("**The examples that do most**")
    table, unit = run.influential(), run.measure("contribution").unit
    rows = session.examples(run).set_index("id")["row"].loc[table["id"]]
    shown, column = parts.example_column(run, rows)
    table.insert(0, "example", shown)
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "example": column,
            "id": "Example",
            "label_name": "Label" if run.values is None else run.values.name,
            "predicted_name": "Prediction",
            "confidence": st.column_config.NumberColumn("Confidence", format="percent"),
            "residual": st.column_config.NumberColumn("Residual", format="%.4g"),
            "contribution": st.column_config.NumberColumn("Contribution", format="%.2e", help=f"in {unit}"),
        },
        alt="The examples of the largest contributions",
    )
    st.caption("Largest contributions to the mean validation loss, for better or worse. *HYDRA, table 2*")


main()
