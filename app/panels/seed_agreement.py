"""The rank correlation of scores between runs that differ by the seed only."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import comparison, navigation


def draw(run: Run) -> None:
    """Draw the rank correlation of each score between runs that differ by the seed only."""
    st.markdown("#### Other seeds")
    siblings = [other for other in comparison.partners(run) if _differs_by_seed(run, other)]
    if not siblings:
        st.caption(
            "To see how much a score depends on the seed, start a new run that differs from this one by the seed only. "
            "The rank correlation of both runs then appears here."
        )
        st.page_link(navigation.PAGES["new"], label="New run", icon=":material/add:")
        return
    rows = {
        f"seed {other.manifest.config.get('seed', 0)}": {
            run.measure(name).title: value
            for name, (value, _) in comparison.agreements(*comparison.in_order(run, other)).items()
        }
        for other in siblings
    }
    st.dataframe(
        pd.DataFrame(rows).rename_axis("Score").style.format("{:.2f}"), alt="Rank correlation of the scores over seeds"
    )
    st.caption(
        f"Spearman's rank correlation of this run's scores (seed {run.manifest.config.get('seed', 0)}) with those "
        "of the same run with another seed. Differences between seeds say more about training than examples."
    )


def _differs_by_seed(run: Run, other: Run) -> bool:
    one, two = comparison.settings(run), comparison.settings(other)
    differing = {name for name in {**one, **two} if one.get(name, "") != two.get(name, "")}
    return bool(differing) and differing <= {"seed", "recipe: seed"}
