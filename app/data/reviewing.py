"""What reviewers do to examples, by their keys: decisions, tags and notes, in the log of the run under a name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Decision, Run
from attribution_core.runs.history import Undone
from samplescope_app.data import run_library, session
from samplescope_app.wording import labels

ACCEPT = "accept"  # the action that relabels each example to the label suggested for it

_NAME = "reviewer"  # key of the session
_LONGEST_NAME = 60  # characters


def reviewer() -> str:
    """Return the name that this session's records get; "" for nobody by name."""
    return str(st.session_state.get(_NAME, run_library.reviewer()))


def set_reviewer(name: str | None) -> None:
    """Set the name that this session's records get."""
    st.session_state[_NAME] = " ".join((name or "").split())[:_LONGEST_NAME]


def decide(run: Run, keys: Sequence[str], action: str, who: str) -> int:
    """Record a decision about examples of any splits, as one step.

    Args:
        run: The run.
        keys: Keys of the examples.
        action: keep, drop, "relabel LABEL", or :data:`ACCEPT`, which leaves out examples without a suggestion. An
            example that has the new label already is kept.
        who: Name of the reviewer.

    Returns:
        The number of examples decided about.

    Raises:
        InputError: If the action, the label or a key is none of the run's, or the log cannot be written.
    """
    verb, _, text = action.partition(" ")
    rows = _known(run, keys)
    if verb == ACCEPT:
        new = labels.suggestions(run, rows)
        rows, new = rows[~np.isnan(new)], new[~np.isnan(new)]
    elif verb == "relabel":
        new = np.full(len(rows), _label(run, text))
    elif verb in ("keep", "drop") and not text:
        new = np.full(len(rows), np.nan)
    else:
        raise InputError(f"A decision is keep, drop, relabel LABEL or {ACCEPT}; {action!r} was given.")
    same = new == rows["label"].to_numpy(dtype="float64")  # relabeling to the same label means keep
    actions = np.where(same, "keep", "relabel" if verb == ACCEPT else verb).tolist()
    number = int if run.values is None else float
    given = [None if skip or math.isnan(label) else number(label) for label, skip in zip(new, same, strict=True)]
    records = zip(rows["id"], actions, given, rows["split"], strict=True)
    decisions = [Decision(id_, what, label, "", split, who) for id_, what, label, split in records]
    if decisions:
        run.decisions.record_all(decisions)
    return len(decisions)


def _label(run: Run, text: str) -> float:
    try:
        label = labels.parsed(run, text)
    except ValueError as error:
        raise InputError(f"A new label is a number; {text!r} was given.") from error
    if not math.isfinite(label) or (run.values is None and not 0 <= label < len(run.class_names)):
        raise InputError(f"This run has no label {text}.")
    return label


def undo(run: Run, who: str, key: str | None = None) -> Undone:
    """Undo a reviewer's latest step, or whoever's latest decision about the example of a key.

    Returns:
        What was canceled.
    """
    if key is None:
        return run.decisions.history.undo_latest(who)
    split, example_id = session.split_and_id(key)
    canceled = run.decisions.undo(example_id, split, who)
    return Undone(tuple(each.action for each in canceled), [(each.split, each.example) for each in canceled])


def undone_in_words(undone: Undone) -> str:
    """Return what an undo canceled, as plain text."""
    if not undone.examples:
        return "Nothing to undo."
    (split, example), count = undone.examples[0], len(undone.examples)
    one = example if split == "train" else f"{split} example {example}"
    what = one if count == 1 else f"{count:,} examples"
    return f"Undone: {' and '.join(undone.actions)} of {what}."


def split_and_ids(run: Run, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Return split and id of the examples with these keys.

    Raises:
        InputError: If a key is none of the run's.
    """
    rows = _known(run, keys)
    return list(zip(rows["split"], rows["id"], strict=True))


def _known(run: Run, keys: Sequence[str]) -> pd.DataFrame:
    """Return split, id, label and what may suggest another one, of the examples with these keys."""
    found = session.positions(run, keys)
    if not len(keys) or len(found) != len(keys):
        raise InputError(f"This run does not have all of these examples: {', '.join(keys[:5])}.")
    return _facts(run, run.version).iloc[found]


@st.cache_resource(max_entries=4, show_spinner=False)
def _facts(_run: Run, version: str) -> pd.DataFrame:  # noqa: ARG001 (a cache key)
    """Return of all examples what no decision changes, in the order of ``session.everything``."""
    columns = ["split", "id", "label", "suggested_label", "predicted"]
    tables = _run.examples.assign(split="train"), _run.evaluation
    parts = [table[[name for name in columns if name in table]] for table in tables]
    return pd.concat(parts, ignore_index=True)
