"""What was done in a run's review, step by step: who, when and what; any one step or record of it can be undone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from attribution_core.runs.review_file import ReviewFile, Table, cancel, in_force

_NOT_CANCELED = "seq NOT IN (SELECT cancels FROM {table} WHERE cancels IS NOT NULL)"


@dataclass(frozen=True)
class Step:
    """What one reviewer did at once.

    Attributes:
        number: Its number, which grows.
        time: When, in UTC.
        reviewer: Who; "" for nobody by name.
        actions: keep, drop and relabel, or one of tag, untag and note.
        new_label: New label of all its relabels; None if there is none or they differ.
        text: The tag or the note; "" for a decision.
        split: Split of its first example.
        example: Id of its first example.
        examples: Number of its examples.
        in_force: Number of these for which it was not undone.
    """

    number: int
    time: str
    reviewer: str
    actions: tuple[str, ...]
    new_label: float | None
    text: str
    split: str
    example: str
    examples: int
    in_force: int


@dataclass(frozen=True)
class Undone:
    """What an undo canceled.

    Attributes:
        actions: keep, drop, relabel, tag, untag or note; each once.
        examples: Split and id of each example.
    """

    actions: tuple[str, ...]
    examples: list[tuple[str, str]]


class History:
    """The history of one run's review."""

    def __init__(self, file: ReviewFile) -> None:
        self._file = file

    def steps(self, count: int) -> list[Step]:
        """Return the latest steps, at most ``count``, latest first; an undo is no step, it marks what it canceled."""
        if not self._file.exists:
            return []
        parts = " UNION ALL ".join(_steps_of(table) for table in get_args(Table))
        with self._file.opened() as connection:
            rows = connection.execute(f"{parts} ORDER BY batch DESC LIMIT ?", (count, count, count)).fetchall()
        return [
            Step(
                row["batch"],
                row["time"],
                row["reviewer"],
                tuple(sorted(row["actions"].split(","))),
                row["new_label"] if row["new_labels"] == 1 else None,
                row["text"],
                row["split"],
                row["example"],
                row["examples"],
                row["in_force"],
            )
            for row in rows
        ]

    def examples_in_force(self, step: int) -> list[tuple[str, str]]:
        """Return split and id of the examples for which a step was not undone."""
        if not self._file.exists:
            return []
        with self._file.opened() as connection:
            found = [row for table in get_args(Table) for row in _records(connection, table, step)]
        return list(dict.fromkeys((row["split"], row["example"]) for row in found))

    def undo(self, step: int, examples: Iterable[tuple[str, str]] | None = None, reviewer: str = "") -> Undone:
        """Cancel a step, or what it did to some examples, whatever was done after it.

        What came later stays: if a later decision about the same example is in force, that one still counts.

        Args:
            step: Number of the step.
            examples: Split and id of the examples; all of the step by default.
            reviewer: Who undoes it.

        Returns:
            What was canceled; no examples if it had been already.
        """
        if not self._file.exists:
            return Undone((), [])
        with self._file.writing() as connection:
            return _undo(connection, step, None if examples is None else set(examples), reviewer)

    def undo_latest(self, reviewer: str = "") -> Undone:
        """Cancel the latest step in force of one reviewer, decisions, tags or a note, and return what it was."""
        if not self._file.exists:
            return Undone((), [])
        newest = " UNION ALL ".join(
            f"SELECT MAX(batch) AS batch FROM {table} WHERE reviewer = :reviewer AND {in_force(table)}"
            for table in get_args(Table)
        )
        with self._file.writing() as connection:
            (step,) = connection.execute(f"SELECT MAX(batch) FROM ({newest})", {"reviewer": reviewer}).fetchone()
            return Undone((), []) if step is None else _undo(connection, step, None, reviewer)

    def reviewers(self) -> list[str]:
        """Return the names that the records have, in alphabetical order."""
        if not self._file.exists:
            return []
        names = " UNION ".join(f"SELECT reviewer FROM {table}" for table in (*get_args(Table), "views"))
        with self._file.opened() as connection:
            return sorted(row[0] for row in connection.execute(names) if row[0])


def _steps_of(table: Table) -> str:
    """Return the SQL of the latest steps of a table; SQLite takes the bare columns from the row with the MIN."""
    labels = "COUNT(DISTINCT new_label) AS new_labels, new_label" if table == "log" else "0 AS new_labels, NULL"
    text = "''" if table == "log" else "text"
    return (
        f"SELECT * FROM (SELECT batch, time, reviewer, GROUP_CONCAT(DISTINCT action) AS actions, {labels} AS new_label,"
        f" {text} AS text, split, example, COUNT(*) AS examples, SUM({_NOT_CANCELED.format(table=table)}) AS in_force,"
        f" MIN(seq) FROM {table} WHERE action != 'undo' AND batch IN (SELECT DISTINCT batch FROM {table}"
        " WHERE action != 'undo' ORDER BY batch DESC LIMIT ?) GROUP BY batch)"
    )


def _records(connection: sqlite3.Connection, table: Table, step: int) -> list[sqlite3.Row]:
    """Return the records in force of a step in a table."""
    return connection.execute(
        f"SELECT * FROM {table} WHERE batch = ? AND {in_force(table)} ORDER BY seq", (step,)
    ).fetchall()


def _undo(connection: sqlite3.Connection, step: int, only: set[tuple[str, str]] | None, reviewer: str) -> Undone:
    actions: list[str] = []
    examples: list[tuple[str, str]] = []
    for table in get_args(Table):
        rows = _records(connection, table, step)
        if only is not None:
            rows = [row for row in rows if (row["split"], row["example"]) in only]
        cancel(connection, table, rows, reviewer)
        actions += [row["action"] for row in rows]
        examples += [(row["split"], row["example"]) for row in rows]
    return Undone(tuple(dict.fromkeys(actions)), list(dict.fromkeys(examples)))
