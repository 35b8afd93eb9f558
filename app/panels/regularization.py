"""The weight decay of least leave-one-out loss: the job that tries some, their losses, and a run with the best one."""

from __future__ import annotations

from typing import Any

import streamlit as st

from attribution_core.jobs.jobs import find_job
from attribution_core.jobs.requests import is_python_file
from attribution_core.runs import Run
from attribution_core.runs.regularization import (
    CURVE,
    Regularization,
    read_regularization,
    weight_decays_to_try,
    why_no_regularization,
)
from samplescope_app import figures
from samplescope_app.data import navigation, run_library
from samplescope_app.panels import curves, jobs, run_form
from samplescope_app.wording.text import plain


def draw(run: Run) -> None:
    """Draw the losses by weight decay, and offer to train with those that are missing."""
    st.markdown("##### Weight decay without a test set")
    if reason := why_no_regularization(run):
        st.info(plain(reason), icon=":material/info:")
        return
    found = read_regularization(run)
    if found is None:
        st.caption(
            "How strongly should the model be regularized? Training it with several weight decays and estimating the "
            "leave-one-out loss of each from the training examples tells, without a validation or test set."
        )
    else:
        _draw(run, found)
    _offer(run, found)


def _draw(run: Run, found: Regularization) -> None:
    plot, text = st.columns([6, 4], gap="large")
    with plot:
        points, curve = curves.points(run, CURVE), run.curve(CURVE)
        figure = figures.lines(points, curve.x, curve.y, curve.log_x)
        figures.mark_lowest(figure, points, [curve.series_titles[name] for name in ("leave_one_out", "test")])
        if found.own > 0:
            figures.mark_place(figure, found.own)
        curves.draw(run, CURVE, figure)
    with text:
        st.markdown(f"**{plain(found.sentence)}**")
        st.markdown(plain(_check(found)))
        st.caption("Stars mark the lowest points, the dashed line the weight decay of this run.")
        if found.is_better and not found.is_at_end and _fits_the_form(run):
            label = f"New run with weight decay {found.best:g}"
            if st.button(label, icon=":material/add:", help="Opens New run with the settings of this run."):
                run_form.fill_in(_options_with(run, found.best), replace=True)
                st.switch_page(navigation.PAGES["new"])


def _check(found: Regularization) -> str:
    """Return how good the choice is by the test loss, as a sentence."""
    test = found.losses["test"]
    least, chosen = float(test.min()), float(test[found.best])
    sentence = f"Its test loss is {chosen:.3g}; the least of those tried is {least:.3g}, at {test.idxmin():g}"
    return sentence + (f", and this run's is {test[found.own]:.3g}." if found.own in test.index else ".")


def _offer(run: Run, found: Regularization | None) -> None:
    wanted = weight_decays_to_try(run)
    missing = len(wanted) if found is None else sum(value not in found.losses.index for value in wanted)
    job = find_job(run_library.folder(), "regularization", run.id)
    if not missing and (job is None or job.status != "running"):
        return
    label = "Try weight decays" if found is None else f"Try {missing} more"
    jobs.offer(
        run.id, "regularization", {"values": wanted}, label=label, key="regularization", cost=_cost(run, missing)
    )


def _cost(run: Run, trainings: int) -> str:
    """Return the number of trainings and their time, in words."""
    words = f"{trainings} training{'s' * (trainings > 1)}"
    once = run.manifest.details.get(CURVE, {}).get("seconds")
    stages = run.manifest.stages
    if once is None and "training" in stages:
        looks = len(run.evolution("sensitivity")[0]) if "sensitivity" in run.evolutions else 1
        looked = stages["sensitivity"].seconds or 0.0 if "sensitivity" in stages else 0.0
        once = (stages["training"].seconds or 0.0) + looked / looks
    return words if not once else f"{words}, {once:.1f} s each: about {jobs.duration(once * trainings)}"


def _fits_the_form(run: Run) -> bool:
    """Return whether New run can hold all settings of the run: not a program's model, nor decisions of a review."""
    config = run.manifest.config
    from_program = is_python_file(str(config.get("model", ""))) or str(config.get("model", "")).startswith("python:")
    return not from_program and not config.get("decisions") and config.get("preprocessing") is None


def _options_with(run: Run, weight_decay: float) -> dict[str, Any]:
    config = run.manifest.config
    return {**config, "recipe": {**config["recipe"], "weight_decay": weight_decay}}
