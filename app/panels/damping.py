"""The slider over the damping of influence functions."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.wording.text import format_score

_MULTIPLES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of the run's own damping


def select(run: Run, key: str) -> float:
    """Draw the slider, which begins at the run's own damping; return the chosen one as a multiple of it.

    Args:
        run: A run with influence functions.
        key: Streamlit's key.
    """
    own = float(run.manifest.details["self_influence"]["share_of_largest_eigenvalue"])
    return st.select_slider(
        "Damping",
        _MULTIPLES,
        value=1.0,
        format_func=lambda multiple: f"{format_score(multiple * own)}{' (this run)' if multiple == 1 else ''}",
        key=key,
        help="Added to the curvature before it is inverted, as a share of its largest eigenvalue (mean over the "
        "checkpoints). A small damping lets directions speak that the training data hardly determine; a large one "
        "compares gradients as they are. Nothing in the data says which is right: trust influencers that stay. Trust "
        "shows how much the order depends on it. The arrow keys move the slider.",
        persist_state="session",
    )
