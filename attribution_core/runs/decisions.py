"""The reviewers' decisions about a run's examples, in its append-only log.

A decision is about an id in a split, since ids are unique within a split only. The latest one in force counts, whoever
took it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.annotations import Annotations
from attribution_core.runs.files import now
from attribution_core.runs.history import History
from attribution_core.runs.review_file import ReviewFile, Split, cancel, in_force, next_step, require_split
from attribution_core.runs.saved_views import SavedViews

Action = Literal["keep", "drop", "relabel"]

_IN_FORCE = in_force("log")
_INSERT = "INSERT INTO log (batch, time, example, split, action, new_label, reviewer) VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Decision:
    """A decision about one example; only a relabel has a ``new_label``, which is a class number or a value."""

    example: str
    action: Action
    new_label: float | None
    time: str
    split: Split = "train"
    reviewer: str = ""


class DecisionLog:
    """The decisions of one run, and what is kept beside them; threads and tabs can share it.

    Attributes:
        annotations: Tags and notes on examples.
        history: What was done, step by step, of which any one can be undone.
        views: Saved views of Browse.
    """

    def __init__(self, path: Path) -> None:
        self._file = ReviewFile(path)
        self.annotations = Annotations(self._file)
        self.history = History(self._file)
        self.views = SavedViews(self._file)

    def record(
        self,
        examples: Sequence[str],
        action: Action,
        new_label: float | None = None,
        split: Split = "train",
        reviewer: str = "",
    ) -> None:
        """Append the same decision for each of ``examples``; :meth:`undo` cancels them in one step.

        Args:
            examples: Ids in one split.
            action: The decision.
            new_label: Class number or value of a relabel.
            split: Split of the examples.
            reviewer: Who decides; "" for nobody by name.

        Raises:
            InputError: If the action or the split is unknown, a relabel has no label, or the file cannot be written.
        """
        self.record_all([Decision(example, action, new_label, "", split, reviewer) for example in examples])

    def record_all(self, decisions: Sequence[Decision]) -> None:
        """Append different decisions as one step, which is undone as one.

        Args:
            decisions: The decisions; the log writes the present time in place of theirs.

        Raises:
            InputError: As :meth:`record`; then none is recorded.
        """
        for kind in {(each.action, each.new_label is None, each.split) for each in decisions}:
            _check(*kind)
        with self._file.writing() as connection:
            step, moment = next_step(connection), now()
            rows = [(step, moment, d.example, d.split, d.action, d.new_label, d.reviewer) for d in decisions]
            connection.executemany(_INSERT, rows)

    def undo(self, example: str | None = None, split: Split = "train", reviewer: str = "") -> list[Decision]:
        """Cancel the latest decision in force, so that an earlier one about the same example counts again.

        Args:
            example: Id of the example whose latest decision to cancel; by default the latest step of all is canceled,
                with every decision taken in it.
            split: Split of that example.
            reviewer: Who undoes it.

        Returns:
            The canceled decisions; empty if there was nothing to undo.
        """
        if not self._file.exists:
            return []
        with self._file.writing() as connection:
            if example is None:
                rows = connection.execute(
                    f"SELECT * FROM log WHERE {_IN_FORCE} AND batch = (SELECT MAX(batch) FROM log WHERE {_IN_FORCE})"
                ).fetchall()
            else:
                rows = connection.execute(
                    f"SELECT * FROM log WHERE {_IN_FORCE} AND example = ? AND split = ? ORDER BY seq DESC LIMIT 1",
                    (example, split),
                ).fetchall()
            cancel(connection, "log", rows, reviewer)
        return [
            Decision(row["example"], row["action"], row["new_label"], row["time"], row["split"], row["reviewer"])
            for row in rows
        ]

    def current(self) -> pd.DataFrame:
        """Return the decisions in force, oldest first.

        Returns:
            Columns id, split, action, new_label (missing for keep and drop; Float64 if any is a value, else Int64),
            time and reviewer.
        """
        return self._latest("example, split")

    def by_reviewer(self) -> pd.DataFrame:
        """Return the latest decision in force of every reviewer about every example, oldest first.

        Returns:
            The columns of :meth:`current`.
        """
        return self._latest("example, split, reviewer")

    def _latest(self, of: str) -> pd.DataFrame:
        """Return the latest decision in force of each group of records, which columns define."""
        rows: list[sqlite3.Row] = []
        if self._file.exists:
            with self._file.opened() as connection:
                # SQLite takes the other columns from the row with the MAX.
                rows = connection.execute(
                    "SELECT example, split, action, new_label, time, reviewer, MAX(seq) AS seq FROM log "
                    f"WHERE {_IN_FORCE} GROUP BY {of} ORDER BY seq"
                ).fetchall()
        labels = [row["new_label"] for row in rows]
        kind: Literal["Float64", "Int64"] = "Float64" if any(isinstance(label, float) for label in labels) else "Int64"
        return pd.DataFrame(
            {
                "id": pd.Series([row["example"] for row in rows], dtype="str"),
                "split": pd.Series([row["split"] for row in rows], dtype="str"),
                "action": pd.Series([row["action"] for row in rows], dtype="str"),
                "new_label": pd.array(labels, dtype=kind),
                "time": pd.Series([row["time"] for row in rows], dtype="str"),
                "reviewer": pd.Series([row["reviewer"] for row in rows], dtype="str"),
            }
        )

    def counts(self) -> dict[Action, int]:
        """Count the examples of all splits that are kept, dropped and relabeled by the decisions in force."""
        actions = self.current()["action"].value_counts()
        return {action: int(actions.get(action, 0)) for action in get_args(Action)}

    def version(self) -> int:
        """Return a number that grows with every record: a cache key for what depends on decisions, tags or notes."""
        return self._file.version()


def _check(action: str, unlabeled: bool, split: str) -> None:
    """Refuse a decision that cannot be, given whether it has no new label."""
    if action not in get_args(Action):
        raise InputError(f"A decision is one of {', '.join(get_args(Action))}; {action!r} was given.")
    if (action == "relabel") == unlabeled:
        raise InputError("A relabel needs a new label, and only a relabel takes one.")
    require_split(split)
