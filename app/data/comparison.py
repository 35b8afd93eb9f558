"""Two runs of the same data: finding them, their shared examples, and the agreement of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.evaluation.comparison import PairedAccuracies, PairedR2, paired_quality, rank_correlation
from attribution_core.runs import Run
from attribution_core.runs.store import read_table
from samplescope_app.data import run_library

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True, eq=False)
class Shared:
    """Training examples that two runs have in common; all sessions share the arrays, so do not change them.

    Attributes:
        before: Rows in the earlier run, int64 ``[n]``.
        after: Rows in the later run, in the same order, int64 ``[n]``.
        relabeled: Whether the labels, classes or values, differ, bool ``[n]``.
        only_before: Number of examples in the earlier run only.
        only_after: Number of examples in the later run only.
    """

    before: np.ndarray
    after: np.ndarray
    relabeled: np.ndarray
    only_before: int
    only_after: int


def partners(run: Run) -> list[Run]:
    """Return the other scored runs that share training examples with a run, newest first."""
    found = []
    for entry in run_library.runs():
        if entry.run is None or entry.id == run.id or _target(entry.run) != _target(run):
            continue
        try:
            other = run_library.open_run(entry.id)
            if other.manifest.measures and _ids(other, other.version).intersection(_ids(run, run.version)).size:
                found.append(other)
        except InputError:  # damaged, or being deleted: the Runs page shows it
            continue
    return found


def _target(run: Run) -> tuple[list[str], str]:
    """Return what the run predicts: its class names and, for a regression, the target column."""
    return run.class_names, run.values.name if run.values is not None else ""


def relatives(run: Run) -> list[Run]:
    """Return the runs retrained on a run's cleaned training set, newest first."""
    entries = run_library.runs()
    made = [each.id for each in entries if each.run is not None and parent_of(each.run) == run.id]
    return [run_library.open_run(name) for name in made]


def parent_of(run: Run) -> str | None:
    """Return the id of the run whose decisions cleaned this run's training set, or None."""
    return run.manifest.details.get("cleaning", {}).get("parent")


def default_partner(run: Run, others: list[Run]) -> Run:
    """Return the run that this one was cleaned from or to, else the newest of the same data, else the newest."""
    parent, children = parent_of(run), [other for other in others if parent_of(other) == run.id]
    linked = [other for other in others if other.id == parent] + children
    data = run.manifest.dataset.fingerprint if run.manifest.dataset else ""
    same_data = [other for other in others if other.manifest.dataset and other.manifest.dataset.fingerprint == data]
    return [*linked, *same_data, *others][0]


def in_order(one: Run, other: Run) -> tuple[Run, Run]:
    """Return the earlier and the later of two runs; a cleaned run is later than the run it was cleaned from."""
    if parent_of(one) == other.id:
        return other, one
    if parent_of(other) == one.id or one.manifest.created <= other.manifest.created:
        return one, other
    return other, one


def shared(before: Run, after: Run) -> Shared:
    """Return the training examples that both runs have."""
    return _shared(before, after, before.version, after.version)


def qualities(before: Run, after: Run) -> dict[str, PairedAccuracies | PairedR2]:
    """Return the accuracies or R² by split, on the examples that both runs have with the same label."""
    return _qualities(before, after, before.version, after.version)


def agreements(before: Run, after: Run) -> dict[str, tuple[float, int]]:
    """Return, for each score of both runs, its rank correlation over the shared training examples and their number."""
    return _agreements(before, after, before.version, after.version)


def settings(run: Run) -> dict[str, str]:
    """Return the settings of a run as texts: its configuration, with the recipe flattened into it, and its model."""
    config: dict[str, Any] = {**run.manifest.config}
    recipe = config.pop("recipe", None) or {}
    flat = {**config, **{f"recipe: {name}": value for name, value in recipe.items()}}
    if flat.get("decisions"):
        flat["decisions"] = PurePath(str(flat["decisions"])).name
    flat["trained model"] = run.manifest.model.get("name", "")
    return {name.replace("_", " "): "" if value in (None, []) else str(value) for name, value in flat.items()}


@st.cache_resource(max_entries=64, show_spinner=False)
def _ids(_run: Run, version: str) -> pd.Index:  # noqa: ARG001 (a cache key)
    return pd.Index(read_table(_run.path, "examples", columns=["id"])["id"])


@st.cache_resource(max_entries=8, show_spinner=False)
def _shared(_before: Run, _after: Run, *versions: str) -> Shared:  # noqa: ARG001 (a cache key)
    place = pd.Index(_after.examples["id"]).get_indexer(pd.Index(_before.examples["id"]))
    rows = np.flatnonzero(place >= 0)
    one, other = _before.examples["label"].iloc[rows], _after.examples["label"].iloc[place[rows]]
    return Shared(
        before=rows,
        after=place[rows],
        relabeled=one.to_numpy() != other.to_numpy(),
        only_before=len(_before.examples) - len(rows),
        only_after=len(_after.examples) - len(rows),
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _qualities(_before: Run, _after: Run, *versions: str) -> dict[str, PairedAccuracies | PairedR2]:  # noqa: ARG001 (a cache key)
    found = {"training": paired_quality(_before.examples, _after.examples)}
    for split in SPLITS[1:]:
        found[split] = paired_quality(*(run.evaluation[run.evaluation["split"] == split] for run in (_before, _after)))
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _agreements(_before: Run, _after: Run, *versions: str) -> dict[str, tuple[float, int]]:
    both = _shared(_before, _after, *versions)
    return {
        name: rank_correlation(
            _before.examples[name].to_numpy(dtype="float64")[both.before],
            _after.examples[name].to_numpy(dtype="float64")[both.after],
        )
        for name in _before.scores
        if name in _after.scores
    }
