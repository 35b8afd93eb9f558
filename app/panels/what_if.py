"""What if some training examples were gone: estimates, the examples that would change most, and retraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.retraining import MeasuredRemoval, measured_without
from samplescope_app.data import effects, group_removal
from samplescope_app.panels import influencers, jobs
from samplescope_app.wording.text import format_score, plain

if TYPE_CHECKING:
    from attribution_core.workflows.group_removal import GroupEstimate

_LINEARIZED = "linearized"


def draw(run: Run, rows: Sequence[int], key: str, what: str = "these") -> None:
    """Draw the question as a switch, and its answer where it is on.

    Args:
        run: The run.
        rows: Positions of the training examples in ``run.examples``; of none, nothing can be asked.
        key: Distinguishes the panel from those of other pages.
        what: The examples, in words.
    """
    asked = st.toggle(
        f"What if {what} were gone?",
        key=f"what if {key}",
        disabled=not rows,
        persist_state="session",
        help="Estimates what a model trained without these examples would do, and retrains to check it.",
    )
    if asked and rows:
        with st.container(border=True):
            answer(run, rows, key)


def answer(run: Run, rows: Sequence[int], key: str) -> None:
    """Draw what a model trained without some training examples would do; the arguments are those of :func:`draw`."""
    group = tuple(sorted(map(int, rows)))
    try:
        with st.spinner("Estimating"):
            estimate = group_removal.without(run, group)
    except InputError as error:
        st.info(plain(error), icon=":material/info:")
        return
    _numbers(run, estimate)
    method = next(name for name in ("influence", *estimate.changes) if name in estimate.changes)
    _changed_most(run, method, estimate.changes[method], key)
    measured = measured_without(run.path, group)
    if measured is not None:
        _measured(run, measured, estimate.changes)
    _verify(run, group, key, measured)


def _numbers(run: Run, estimate: GroupEstimate) -> None:
    """Draw the estimated changes on the validation examples, and on the group's own."""
    changes = estimate.changes
    with st.container(horizontal=True, gap="large"):
        if estimate.accuracy is not None:
            before, after = estimate.accuracy
            st.metric(
                "Validation accuracy, linearized",
                f"{after:.1%}",
                f"{100 * (after - before):+.1f} points",
                help=f"Of the linearized model, trained without these examples in closed form. "
                f"{len(estimate.flipped):,} validation examples would be predicted otherwise.",
                width="content",
            )
        # The closed form covers NTK influence, and contributions tell more by their order than by their size.
        best = {name: change for name, change in changes.items() if name in (_LINEARIZED, "influence")}
        for method, change in (best or changes).items():
            st.metric(
                f"Mean validation loss, {_name(run, method)}",
                influencers.format_effect(float(change.mean())),
                help=f"Change in {_unit(run, method)}. " + _HOW[method == _LINEARIZED],
                width="content",
            )
        if estimate.own is not None:
            st.metric(
                "Loss on these themselves, memory perturbation",
                format_score(estimate.own.loss_without),
                f"{influencers.format_effect(estimate.own.loss_without - estimate.own.loss)}",
                delta_color="off",
                help=f"Mean leave-one-out loss ({run.measure('loss').unit}), beside the loss now; their predictions "
                f"move by {format_score(estimate.own.moved)} {run.measure('sensitivity').unit} on average. Each is "
                "taken to be gone alone, so where they are alike the loss would rise more.",
                width="content",
            )


_HOW = {
    True: "Of the linearized model, trained without these examples in closed form.",
    False: "The sum of the effects of removing each of them, which counts twice what two alike have in common.",
}


def _name(run: Run, method: str) -> str:
    return method if method == _LINEARIZED else run.measure(method).title_in_sentence


def _unit(run: Run, method: str) -> str:
    return "half squared errors" if method == _LINEARIZED else effects.unit(run, method)


def _changed_most(run: Run, method: str, change: np.ndarray, key: str) -> None:
    unit = "" if method == _LINEARIZED else effects.unit(run, method)
    up, down = effects.strongest(change, influencers.COUNT)
    for ranked, name in ((up, "Suffer most"), (down, "Gain most")):
        shown = influencers.evaluation_tiles(run, ranked, unit)
        influencers.strip(run, shown, name, unit, f"what if {key} {name}", "No validation example.")


def _measured(run: Run, measured: MeasuredRemoval, changes: dict[str, np.ndarray]) -> None:
    """Draw what retraining showed beside the estimates."""
    means, seeds = measured.changes.mean(axis=1), len(measured.changes)
    spread = f" (standard deviation between seeds {means.std(ddof=1):.2g})" if seeds > 1 else ""
    before, after = measured.accuracy.mean(axis=0)
    agree = [
        f"{_name(run, method)} {np.corrcoef(change, measured.changes.mean(axis=0))[0, 1]:.2f}"
        for method, change in changes.items()
        if change.std() > 0 and measured.changes.mean(axis=0).std() > 0
    ]
    st.markdown(
        f":material/check: **Measured** by retraining, {seeds} seed{'s' if seeds > 1 else ''}: mean validation loss "
        f"**{plain(influencers.format_effect(float(means.mean())))}**{spread}, {run.quality_name} {before:.1%} → "
        f"{after:.1%}. Correlation with the estimates over the validation examples: {plain(', '.join(agree))}."
    )


def _verify(run: Run, group: tuple[int, ...], key: str, measured: MeasuredRemoval | None) -> None:
    label = "Retrain with more seeds" if measured is not None else "Verify by retraining"
    seeds = 2 if measured is None else 2 * len(measured.changes)
    seconds = run.manifest.stages["training"].seconds if "training" in run.manifest.stages else None
    cost = f"{2 * seeds} trainings" + (f", about {jobs.duration(2 * seeds * seconds)}" if seconds else "")
    jobs.offer(run.id, "without", {"rows": list(group), "seeds": seeds}, label=label, key=f"without {key}", cost=cost)
