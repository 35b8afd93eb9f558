"""The history of a run's review, of which any step can be undone, and how far its reviewers agree."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.agreement import agreements
from attribution_core.runs.history import Step
from samplescope_app.data import reviewing
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_STEPS = 12  # shown at first
_MORE = 200  # shown when asked for
_HEIGHT = 320
_PAST = {"keep": "kept", "drop": "dropped", "tag": "tagged", "untag": "untagged", "note": "noted on"}


def draw(run: Run) -> None:
    """Draw the latest steps, each with who did what when and a button that undoes it."""
    steps = run.decisions.history.steps(_MORE + 1)
    if not steps:
        return
    st.markdown("**History**")
    everything = len(steps) > _STEPS and st.toggle(f"Show the last {min(len(steps), _MORE):,} steps", key="all steps")
    with st.container(height=_HEIGHT if everything else "content", gap="xsmall"):
        for step in steps[: _MORE if everything else _STEPS]:
            _step(run, step)


def agreement(run: Run) -> None:
    """Draw how far each two reviewers agree about the examples that both decided about."""
    for each in agreements(run.decisions.by_reviewer()):
        first, second = map(plain, each.reviewers)
        kappa = "" if math.isnan(each.kappa) else f", Cohen's kappa {each.kappa:.2f}"
        st.markdown(
            f":material/people: {first} and {second} both decided about {each.examples:,}: "
            f"**{each.equal:.0%} alike**{kappa}",
            help="Relabels are alike if the new label is the same. Cohen's kappa is 1 for full agreement and 0 for as "
            "much as by chance. The latest decision counts, whoever took it.",
        )


def _step(run: Run, step: Step) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        who = f"{plain(step.reviewer)} " if step.reviewer else ""
        text = f":gray[{datetime.fromisoformat(step.time).astimezone():%d %b %H:%M}] {who}{_in_words(run, step)}"
        if not step.in_force:
            text += " :gray[(undone)]"
        elif step.in_force < step.examples:
            text += f" :gray[({step.examples - step.in_force:,} undone)]"
        st.markdown(text, width="stretch")
        if step.in_force > 1:
            _part(run, step)
        if step.in_force:
            st.button(
                "Undo",
                icon=":material/undo:",
                type="tertiary",
                key=f"undo step {step.number}",
                on_click=_undo,
                args=(run, step.number),
            )


def _part(run: Run, step: Step) -> None:
    """Draw a menu of the examples of a step, of which some can be undone."""
    popover = st.popover(
        f"{step.in_force:,}",
        type="tertiary",
        help="Undo a part of this step",
        key=f"part of {step.number}",
        on_change="rerun",
    )
    if not popover.open:
        return
    with popover:
        examples = run.decisions.history.examples_in_force(step.number)
        chosen = st.multiselect(
            "Examples", examples, format_func=_name, key=f"examples of {step.number}", placeholder="Choose examples"
        )
        st.button(
            f"Undo {len(chosen):,}",
            key=f"undo part of {step.number}",
            disabled=not chosen,
            on_click=functools.partial(_undo, run, step.number, chosen),
        )


def _undo(run: Run, step: int, examples: Sequence[tuple[str, str]] | None = None) -> None:
    try:
        undone = run.decisions.history.undo(step, examples, reviewing.reviewer())
    except InputError as error:
        st.toast(plain(error), icon=":material/error:")
    else:
        st.toast(plain(reviewing.undone_in_words(undone)), icon=":material/undo:")


def _in_words(run: Run, step: Step) -> str:
    """Return what a step did, as Markdown, such as "tagged 12 examples *shoe*"."""
    what = plain(_name((step.split, step.example))) if step.examples == 1 else f"{step.examples:,} examples"
    if "relabel" in step.actions:
        label = "" if step.new_label is None else f" to {plain(labels.label_text(run, step.new_label))}"
        return f"relabeled {what}{label if step.actions == ('relabel',) else ''}"
    said = f": *{plain(step.text)}*" if step.text else ""
    return f"{' and '.join(_PAST[action] for action in step.actions)} {what}{said}"


def _name(example: tuple[str, str]) -> str:
    split, example_id = example
    return example_id if split == "train" else f"{example_id} ({split})"
