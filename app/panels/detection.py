"""How soon each score finds the labels known to be wrong."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.table import height_of
from samplescope_app.panels import curves, evidence
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_BEST = 5  # scores in the figure


def draw(run: Run) -> None:
    """Draw how soon each score finds the labels that are known to be wrong."""
    wrong = f"wrong {labels.noun(run)}s"
    st.markdown(f"#### {wrong.capitalize()}")
    details = run.manifest.details.get("detection", {})
    if "scores" not in details:
        reason = details.get("skipped", "this run did not compute it")
        st.caption(f"Not measured: {plain(reason)}. A column original_label in the dataset says which they are.")
        return
    rows = pd.DataFrame(details["scores"]).T.sort_values("area", ascending=False)
    st.caption(f"How soon each score finds the {details['wrong_labels']:,} known {wrong}.")
    plot, table = st.columns(2, gap="large")
    curve, points = run.curve("detection"), curves.points(run, "detection")
    best = [*rows.index[:_BEST], "random order"]
    titles = functools.partial(evidence.title, run)
    drawn = points[points["series"].isin(best)].sort_values(
        "series", key=lambda names: names.map(best.index), kind="stable"
    )
    with plot:
        titled = drawn.assign(series=drawn["series"].map(titles))
        figure = figures.lines(titled, curve.x, curve.y, curve.log_x).update_layout(height=440)
        chart.chart(figure, key="curve detection", alt=curve.definition)
        st.caption(f"The {min(_BEST, len(rows))} best. {plain(curve.definition)} *{plain(curve.paper)}*")
    with table:
        shown = rows.rename(index=titles).rename_axis("Score").rename(columns={"area": "Area", "auc": "AUC"})
        number, percent = (st.column_config.NumberColumn(format=form) for form in ("%.3f", "percent"))
        formats = {name: number if name in ("Area", "AUC") else percent for name in shown.columns}
        st.dataframe(
            shown, height=height_of(len(shown)), column_config=formats, alt=f"How soon each score finds the {wrong}"
        )
        st.caption(
            f"Area under the curve (random order: 0.5), area under the ROC curve, and the share of the {wrong} found "
            "among the first 5, 10 and 20% inspected."
        )
