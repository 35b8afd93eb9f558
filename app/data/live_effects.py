"""Effects that a run does not store, computed while the user waits: at other training times, and at other dampings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.names import KEPT_INFLUENCE_FILE, LIVE_MODEL_FILE

if TYPE_CHECKING:
    from attribution_core.workflows.live_influence import EffectsAtDamping, LiveInfluence
    from attribution_core.workflows.live_information import LiveInformation

NTK, INFLUENCE = "ntk", "influence"  # the methods whose effects can be computed anew


def can_change(run: Run, method: str) -> bool:
    """Return whether the run keeps what other effects of a method follow from."""
    if method == NTK:
        return (run.path / LIVE_MODEL_FILE).is_file() and "fsi" in run.evolutions
    return method == INFLUENCE and (run.path / KEPT_INFLUENCE_FILE).is_file()


def of_training_example(run: Run, method: str, row: int, setting: float) -> np.ndarray:
    """Return the effects of a training example on each evaluation example, ``[m]``.

    Args:
        run: The run.
        method: ``NTK`` or ``INFLUENCE``.
        row: The training example.
        setting: Training time in steps, or the damping as a multiple of the run's own.

    Raises:
        InputError: What they follow from cannot be read.
    """
    return _row(run, run.version, method, row, setting)


def on_evaluation_example(run: Run, method: str, row: int, setting: float) -> np.ndarray:
    """Return the effects of each training example on an evaluation example, ``[n]``; see above."""
    return _column(run, run.version, method, row, setting)


def between_training_examples(run: Run, row: int, steps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of the training examples on one of them, and of it on them, ``[n]`` each.

    Its effect on itself counts as zero in both. Errors as above.
    """
    return _between(run, run.version, row, steps)


@st.cache_resource(max_entries=64, show_spinner=False)
def _between(_run: Run, version: str, row: int, steps: float) -> tuple[np.ndarray, np.ndarray]:
    live = _opened(_run, version)
    on_it, of_it = live.effects_on(row, steps, on_training=True), live.effects_of(row, steps, on_training=True)
    on_it[row] = of_it[row] = 0.0
    return on_it, of_it


@st.cache_resource(max_entries=64, show_spinner=False)
def _row(_run: Run, version: str, method: str, row: int, setting: float) -> np.ndarray:
    if method == NTK:
        return _opened(_run, version).effects_of(row, setting)
    return _at_damping(_run, version, setting).effects_of(row)


@st.cache_resource(max_entries=64, show_spinner=False)
def _column(_run: Run, version: str, method: str, row: int, setting: float) -> np.ndarray:
    if method == NTK:
        return _opened(_run, version).effects_on(row, setting)
    return _at_damping(_run, version, setting).effects_on(row)


@st.cache_resource(max_entries=3, show_spinner=False)
def _at_damping(_run: Run, version: str, multiple: float) -> EffectsAtDamping:
    return _kept_influence(_run, version).at(multiple)


@st.cache_resource(max_entries=1, show_spinner=False)
def _kept_influence(_run: Run, version: str) -> LiveInfluence:  # noqa: ARG001 (a cache key)
    from attribution_core.workflows.live_influence import LiveInfluence  # imports torch, which takes seconds

    return LiveInfluence.open(_run)


def opened(run: Run) -> LiveInformation:
    """Return the run's linearized model, of which effects and groups share one copy.

    Raises:
        InputError: The model cannot be read.
    """
    return _opened(run, run.version)


@st.cache_resource(max_entries=2, show_spinner=False)
def _opened(_run: Run, version: str) -> LiveInformation:  # noqa: ARG001 (a cache key)
    from attribution_core.workflows.live_information import LiveInformation  # imports torch, which takes seconds

    return LiveInformation.open(_run)
