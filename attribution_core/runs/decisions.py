"""The reviewer's decisions: an append-only log in SQLite that several browser tabs can write at once.

No record is ever changed or deleted: an undo is a record that cancels an earlier one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.files import now

Action = Literal["keep", "drop", "relabel"]

_SECONDS_TO_WAIT = 30.0  # until another tab has written

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch     INTEGER NOT NULL,                  -- decisions taken together are undone together
    time      TEXT NOT NULL,
    example   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('keep', 'drop', 'relabel', 'undo')),
    new_label INTEGER CHECK ((action = 'relabel') = (new_label IS NOT NULL)),
    cancels   INTEGER UNIQUE REFERENCES log (seq) CHECK ((action = 'undo') = (cancels IS NOT NULL))
)
"""
_IN_FORCE = "action != 'undo' AND seq NOT IN (SELECT cancels FROM log WHERE cancels IS NOT NULL)"


@dataclass(frozen=True)
class Decision:
    """A decision about one example; only a relabel has a ``new_label``, which is a class number or a value."""

    example: str
    action: Action
    new_label: float | None
    time: str


class DecisionLog:
    """The decisions of one run; each call opens the file anew, so threads and tabs can share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, examples: Sequence[str], action: Action, new_label: float | None = None) -> None:
        """Append the same decision for each of ``examples``; :meth:`undo` cancels them in one step.

        Raises:
            InputError: If the action is unknown, a relabel has no label, or the file cannot be written.
        """
        if action not in get_args(Action):
            raise InputError(f"A decision is one of {', '.join(get_args(Action))}; {action!r} was given.")
        if (action == "relabel") != (new_label is not None):
            raise InputError("A relabel needs a new label, and only a relabel takes one.")
        with self._writing() as connection:
            batch, moment = _next_batch(connection), now()
            connection.executemany(
                "INSERT INTO log (batch, time, example, action, new_label) VALUES (?, ?, ?, ?, ?)",
                [(batch, moment, example, action, new_label) for example in examples],
            )

    def undo(self, example: str | None = None) -> list[Decision]:
        """Cancel the latest decision in force, so that an earlier one about the same example counts again.

        Args:
            example: Id of the example whose latest decision to cancel; by default the latest step of all is canceled,
                with every decision taken in it.

        Returns:
            The canceled decisions; empty if there was nothing to undo.
        """
        if not self._path.exists():
            return []
        with self._writing() as connection:
            if example is None:
                rows = connection.execute(
                    f"SELECT * FROM log WHERE {_IN_FORCE} AND batch = (SELECT MAX(batch) FROM log WHERE {_IN_FORCE})"
                ).fetchall()
            else:
                rows = connection.execute(
                    f"SELECT * FROM log WHERE {_IN_FORCE} AND example = ? ORDER BY seq DESC LIMIT 1", (example,)
                ).fetchall()
            batch, moment = _next_batch(connection), now()
            connection.executemany(
                "INSERT INTO log (batch, time, example, action, cancels) VALUES (?, ?, ?, 'undo', ?)",
                [(batch, moment, row["example"], row["seq"]) for row in rows],
            )
        return [Decision(row["example"], row["action"], row["new_label"], row["time"]) for row in rows]

    def current(self) -> pd.DataFrame:
        """Return the decisions in force, oldest first.

        Returns:
            Columns id, action, new_label (missing for keep and drop; Float64 if any is a value, else Int64) and time.
        """
        rows: list[sqlite3.Row] = []
        if self._path.exists():
            with self._open() as connection:
                # SQLite takes the other columns from the row with the MAX.
                rows = connection.execute(
                    f"SELECT example, action, new_label, time, MAX(seq) AS seq FROM log WHERE {_IN_FORCE} "
                    "GROUP BY example ORDER BY seq"
                ).fetchall()
        labels = [row["new_label"] for row in rows]
        kind: Literal["Float64", "Int64"] = "Float64" if any(isinstance(label, float) for label in labels) else "Int64"
        return pd.DataFrame(
            {
                "id": pd.Series([row["example"] for row in rows], dtype="str"),
                "action": pd.Series([row["action"] for row in rows], dtype="str"),
                "new_label": pd.array(labels, dtype=kind),
                "time": pd.Series([row["time"] for row in rows], dtype="str"),
            }
        )

    def counts(self) -> dict[Action, int]:
        """Count the examples that are kept, dropped and relabeled by the decisions in force."""
        actions = self.current()["action"].value_counts()
        return {action: int(actions.get(action, 0)) for action in get_args(Action)}

    def version(self) -> int:
        """Return a number that grows with every record: a cache key for results that depend on the decisions."""
        if not self._path.exists():
            return 0
        with self._open() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM log").fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                _use_wal(connection)
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise InputError(
                f"The decisions in {self._path} cannot be read or saved ({error}): check the disk and its permissions."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that holds the write lock from its start, so that an undo sees the latest record."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log.

    Only the first connection has to. If two try at once, SQLite refuses one of them without waiting for the other.
    """
    until = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _next_batch(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COALESCE(MAX(batch), 0) + 1 FROM log").fetchone()[0])
