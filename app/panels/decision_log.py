"""The table of current decisions."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.table import height_of
from samplescope_app.data import session
from samplescope_app.panels import example_facts, history
from samplescope_app.wording import labels

_LISTED = 200


def draw(run: Run) -> None:
    """Draw the current decisions, latest first, with the old and the new label."""
    counts = run.decisions.counts()
    st.markdown("**Decisions**")
    for column, action in zip(st.columns(3), counts, strict=True):
        column.metric(labels.DECISION_NAMES[action].capitalize(), f"{counts[action]:,}")
    history.agreement(run)
    current = run.decisions.current().iloc[::-1].head(_LISTED)
    if current.empty:
        st.caption("No decisions yet. The dataset itself never changes: decisions are a log that an export applies.")
        return
    keys = pd.MultiIndex.from_frame(current[["id", "split"]])
    rows = session.everything(run).set_index(["id", "split"], drop=False).loc[keys]
    shown, column = example_facts.column(run, rows)
    table = pd.DataFrame(
        {
            "example": shown,
            labels.noun(run): rows["label_name"].to_numpy(),
            "decision": [
                f"→ {new}" if action == "relabel" else action
                for action, new in zip(current["action"], rows["new_label_name"], strict=True)
            ],
            "split": current["split"].to_numpy(),
            "id": current["id"].to_numpy(),
        }
    )
    if current["reviewer"].any():
        table["by"] = current["reviewer"].to_numpy()
    st.dataframe(
        table,
        hide_index=True,
        height=min(420, height_of(len(table))),
        column_config={"example": column},
        alt=f"Decisions, latest first, with old and new {labels.noun(run)}s",
    )
    history.draw(run)
