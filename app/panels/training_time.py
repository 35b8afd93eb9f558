"""The slider over training time."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import score_evolution
from samplescope_app.data.score_evolution import steps_text
from samplescope_app.wording.text import score_help


def select(run: Run, key: str, default: float | None) -> float:
    """Draw the slider over the times for which the run holds F-SI, and those between; return the chosen one.

    Args:
        run: A run that holds F-SI over training.
        key: Streamlit's key.
        default: The time to begin with; None is in the middle.
    """
    times, own = score_evolution.slider_times(score_evolution.read(run, run.version, "fsi").times), own_time(run)
    return st.select_slider(
        "Training time",
        times,
        value=default if default in times else times[len(times) // 2],
        format_func=lambda time: f"{steps_text(time)}{' (this run)' if time == own else ''}",
        key=key,
        help="Steps of gradient descent on the linearized model. The arrow keys move the slider.\n\n"
        + score_help(run.measure("fsi")),
        persist_state="session",
    )


def own_time(run: Run) -> float | None:
    """Return the training time of the run itself, in steps; None if it does not know it."""
    steps = run.manifest.details.get("fsi", {}).get("steps")
    return float(steps) if steps is not None else None
