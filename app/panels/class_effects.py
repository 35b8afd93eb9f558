"""The matrix of effects between classes, and the cell chosen in it."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.data import effects
from samplescope_app.panels import class_pairs, influencers
from samplescope_app.wording.text import format_score, plain

_KEYS = {"from": "class from", "to": "class to"}  # split in the address -> key of its menu
_SHOWN = "cell in the address"  # session key of the cell that this page last wrote there
_MOST_CLASSES = 100  # in the figure
_NORMALIZED = "Each mean is divided by the square root of its row sum times its column sum."
_CANCELLED = "Where help and harm nearly cancel out in a sum, a tenth of the sum of absolute values takes its place."


def _without_effects(run: Run) -> None:
    """Show why the run has no class effects, and offer to compute them."""
    st.info(
        f"This run has no effects between {many(run)}, which are averages of the effects of single examples.",
        icon=":material/grid_off:",
    )
    for name, facts in run.manifest.details.items():
        if "skipped" in facts and name in run.known_measures:
            st.caption(f"{plain(run.measure(name).title)} skipped: {plain(facts['skipped'])}.")
    influencers.finish(run, "effects")


def draw(run: Run) -> None:
    """Draw the matrix, the chosen cell and the pairs behind it."""
    if run.class_effects.empty:
        _without_effects(run)
        return
    select, toggle = st.columns([3, 5], gap="large", vertical_alignment="bottom")
    with select:
        method = influencers.method_select(run)
    with toggle:
        normalized = st.toggle(
            "Normalized", key="classes normalized", persist_state="session", help=_NORMALIZED + " " + _CANCELLED
        )
    rows = run.class_effects[run.class_effects["method"] == method]
    if rows.empty:
        _without_effects(run)
        return
    wide = rows.pivot_table(
        index="train_class", columns="evaluation_class", values="normalised" if normalized else "effect", dropna=False
    ).reindex(index=run.strata_names, columns=run.strata_names)
    plot, chosen = st.columns([5, 4], gap="large")
    with chosen:
        cell = _cell(run)
        if cell is not None:
            _in_words(run, rows, method, cell)
            class_pairs.draw(run, method, cell)
    with plot:
        _matrix(run, wide.iloc[:_MOST_CLASSES, :_MOST_CLASSES], method, normalized, cell)
        if len(wide) > _MOST_CLASSES:
            st.caption(f"The figure shows the first {_MOST_CLASSES} of {len(wide):,} classes; the menus list them all.")


def _matrix(run: Run, matrix: pd.DataFrame, method: str, normalized: bool, cell: tuple[str, str] | None) -> None:
    key = f"class effects {method}"

    def clicked() -> None:
        points = st.session_state[key].selection.points
        if points:
            row, column = divmod(points[0]["point_index"], matrix.shape[1])
            st.session_state[_KEYS["from"]], st.session_state[_KEYS["to"]] = matrix.index[row], matrix.columns[column]

    chart.chart(
        figures.heatmap(
            matrix,
            f"training examples{_column(run)}",
            f"validation examples{_column(run)}",
            cell,
            "" if normalized else effects.unit(run, method),
        ),
        key=key,
        on_select=clicked,
        selection_mode="points",
        alt=f"{effects.title(run, method)}: mean effect of each training {one(run)} on each validation {one(run)}",
    )
    scale = f"{_NORMALIZED} {_CANCELLED}" if normalized else f"Effects are in {plain(effects.unit(run, method))}."
    why = "" if method in run.imported else ", since the loss rises without them"
    similar = ", as similar classes do" if run.values is None else ""
    st.caption(
        f"Blue (positive): they help{why}. Orange (negative): they compete{similar}. {scale} *HYDRA, eq. 23, figure 2*"
    )


def _column(run: Run) -> str:
    """Return the end of an axis title: what the classes or ranges are of."""
    return " by class" if run.values is None else f" by range of {html.escape(run.values.name, quote=False)}"


def _cell(run: Run) -> tuple[str, str] | None:
    """Return the cell chosen by a click, in the menus or in the address, if any."""
    _take_address(run)
    columns = st.columns(2)
    chosen = [
        column.selectbox(
            f"{split} {one(run)}",
            run.strata_names,
            index=None,
            placeholder=one(run),
            key=_KEYS[side],
            persist_state="session",
        )
        for column, split, side in zip(columns, ("Training", "Validation"), _KEYS, strict=True)
    ]
    _show_address(chosen)
    train, evaluation = chosen
    if train is None or evaluation is None:
        st.caption(
            f"Click a cell, or choose two {many(run)} here, to see the pairs of examples with the strongest effects."
        )
        return None
    return train, evaluation


def _take_address(run: Run) -> None:
    """Take over the cell of the address.

    The menus are not bound to the address: they would be forgotten when another page opens, and Back would not restore
    the cell.
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
    """Draw both values of a cell, and what their sign means."""
    found = rows[(rows["train_class"] == cell[0]) & (rows["evaluation_class"] == cell[1])]
    if found.empty or not np.isfinite(found["effect"].iloc[0]):
        st.caption(f"One of the two {many(run)} has no examples in its split.")
        return
    effect, normalised = found["effect"].iloc[0], found["normalised"].iloc[0]
    one, other = (f"**{plain(name)}**" for name in cell)
    size = f"{plain(format_score(abs(effect)))} {plain(effects.unit(run, method))}"
    without = f"Without one training example of {one}, the loss on a validation example of {other}"
    sentence = f"{without} {'rises' if effect > 0 else 'falls'} by {size} on average"
    if method in run.imported:  # only the sign of imported effects is known
        sentence = (
            f"One training example of {one} has an effect of {size} on a validation example of {other} on average"
        )
    end = f" :gray[Normalized: {plain(influencers.format_effect(normalised))}]" if np.isfinite(normalised) else ""
    st.markdown(
        f"{sentence}: {one} **{'helps' if effect > 0 else 'harms'}** {other if cell[0] != cell[1] else 'itself'}.{end}"
    )


def one(run: Run) -> str:
    """Return the noun for a row of the matrix."""
    return "class" if run.values is None else "range"


def many(run: Run) -> str:
    """Return the noun for rows of the matrix."""
    return "classes" if run.values is None else "ranges"
