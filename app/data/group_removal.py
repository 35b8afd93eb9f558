"""Estimates of what changes without a group of training examples, for the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import live_effects

if TYPE_CHECKING:
    from attribution_core.workflows.group_removal import GroupEstimate, GroupEstimator


def without(run: Run, rows: tuple[int, ...]) -> GroupEstimate:
    """Return what is estimated to change without some training examples.

    Args:
        run: The run.
        rows: Positions of the examples in ``run.examples``, each once.

    Raises:
        InputError: The run holds nothing to estimate from, or no example would remain.
    """
    return _without(run, run.version, rows)


@st.cache_resource(max_entries=16, show_spinner=False)
def _without(_run: Run, version: str, rows: tuple[int, ...]) -> GroupEstimate:
    return _estimator(_run, version).without(rows)


@st.cache_resource(max_entries=2, show_spinner=False)
def _estimator(_run: Run, version: str) -> GroupEstimator:  # noqa: ARG001 (a cache key)
    from attribution_core.workflows.group_removal import GroupEstimator  # imports torch, which takes seconds

    return GroupEstimator.open(_run, live_effects.opened)
