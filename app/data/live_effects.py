"""NTK influence at training times that a run does not store, computed while the user waits, in a tenth of a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.names import LIVE_MODEL_FILE

if TYPE_CHECKING:
    from attribution_core.workflows.live_information import LiveInformation

METHOD = "ntk"  # of which the run keeps the model


def are_kept(run: Run) -> bool:
    """Return whether the run keeps the model that they follow from."""
    return (run.path / LIVE_MODEL_FILE).is_file() and "fsi" in run.evolutions


def of_training_example(run: Run, row: int, steps: float) -> np.ndarray:
    """Return the effects of a training example on each evaluation example after some steps, ``[m]``.

    Raises:
        InputError: The model cannot be read.
    """
    return _row(run, run.version, row, steps)


def on_evaluation_example(run: Run, row: int, steps: float) -> np.ndarray:
    """Return the effects of each training example on an evaluation example after some steps, ``[n]``."""
    return _column(run, run.version, row, steps)


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
def _row(_run: Run, version: str, row: int, steps: float) -> np.ndarray:
    return _opened(_run, version).effects_of(row, steps)


@st.cache_resource(max_entries=64, show_spinner=False)
def _column(_run: Run, version: str, row: int, steps: float) -> np.ndarray:
    return _opened(_run, version).effects_on(row, steps)


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
