"""The training examples with the largest contributions."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import session
from samplescope_app.panels import example_facts


def draw(run: Run) -> None:
    """Draw a table of the examples with the largest contributions; nothing if the run has none."""
    if "contribution" not in run.scores:
        return
    st.markdown("**Largest contributions**")
    table, unit = run.influential().round({"confidence": 2}), run.measure("contribution").unit
    shown, column = example_facts.column(run, session.examples(run).set_index("id").loc[table["id"]])
    table.insert(0, "example", shown)
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "example": column,
            "id": "ID",
            "label_name": "Label" if run.values is None else run.values.name,
            "predicted_name": "Prediction",
            "confidence": st.column_config.NumberColumn("Confidence", format="percent"),
            "residual": st.column_config.NumberColumn("Residual", format="%.4g"),
            "contribution": st.column_config.NumberColumn(
                run.measure("contribution").title, format="%.3g", help=f"In {unit}"
            ),
        },
        alt="Training examples with the largest contributions",
    )
    st.caption(
        "The training examples with the largest contributions to the mean validation loss, of either sign. *HYDRA, "
        "table 2*"
    )
