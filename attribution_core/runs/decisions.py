"""The reviewer's decisions: an append-only log in SQLite that several browser tabs can write at once.

No record is ever changed or deleted: an undo is a record that cancels an earlier one. A decision is about an id in a
split, since ids are unique within a split only.
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
Split = Literal["train", "validation", "test"]

_SECONDS_TO_WAIT = 30.0  # until another tab has written

_TABLE = """
CREATE TABLE IF NOT EXISTS log (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch     INTEGER NOT NULL,                  -- decisions taken together are undone together
    time      TEXT NOT NULL,
    example   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('keep', 'drop', 'relabel', 'undo')),
    new_label INTEGER CHECK ((action = 'relabel') = (new_label IS NOT NULL)),
    cancels   INTEGER UNIQUE REFERENCES log (seq) CHECK ((action = 'undo') = (cancels IS NOT NULL)),
    {split}
)
"""
# A log from before examples of other splits could be decided about gets this column; its records are about training
# examples.
_SPLIT = "split TEXT NOT NULL DEFAULT 'train' CHECK (split IN ('train', 'validation', 'test'))"
_IN_FORCE = "action != 'undo' AND seq NOT IN (SELECT cancels FROM log WHERE cancels IS NOT NULL)"


@dataclass(frozen=True)
class Decision:
    """A decision about one example; only a relabel has a ``new_label``, which is a class number or a value."""

    example: str
    action: Action
    new_label: float | None
    time: str
    split: Split = "train"


class DecisionLog:
    """The decisions of one run; each call opens the file anew, so threads and tabs can share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(
        self, examples: Sequence[str], action: Action, new_label: float | None = None, split: Split = "train"
    ) -> None:
        """Append the same decision for each of ``examples``; :meth:`undo` cancels them in one step.

        Args:
            examples: Ids in one split.
            action: The decision.
            new_label: Class number or value of a relabel.
            split: Split of the examples.

        Raises:
            InputError: If the action or the split is unknown, a relabel has no label, or the file cannot be written.
        """
        if action not in get_args(Action):
            raise InputError(f"A decision is one of {', '.join(get_args(Action))}; {action!r} was given.")
        if (action == "relabel") != (new_label is not None):
            raise InputError("A relabel needs a new label, and only a relabel takes one.")
        if split not in get_args(Split):
            raise InputError(f"A decision is about an example of {', '.join(get_args(Split))}; {split!r} was given.")
        with self._writing() as connection:
            batch, moment = _next_batch(connection), now()
            connection.executemany(
                "INSERT INTO log (batch, time, example, split, action, new_label) VALUES (?, ?, ?, ?, ?, ?)",
                [(batch, moment, example, split, action, new_label) for example in examples],
            )

    def undo(self, example: str | None = None, split: Split = "train") -> list[Decision]:
        """Cancel the latest decision in force, so that an earlier one about the same example counts again.

        Args:
            example: Id of the example whose latest decision to cancel; by default the latest step of all is canceled,
                with every decision taken in it.
            split: Split of that example.

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
                    f"SELECT * FROM log WHERE {_IN_FORCE} AND example = ? AND split = ? ORDER BY seq DESC LIMIT 1",
                    (example, split),
                ).fetchall()
            batch, moment = _next_batch(connection), now()
            connection.executemany(
                "INSERT INTO log (batch, time, example, split, action, cancels) VALUES (?, ?, ?, ?, 'undo', ?)",
                [(batch, moment, row["example"], row["split"], row["seq"]) for row in rows],
            )
        return [Decision(row["example"], row["action"], row["new_label"], row["time"], row["split"]) for row in rows]

    def current(self) -> pd.DataFrame:
        """Return the decisions in force, oldest first.

        Returns:
            Columns id, split, action, new_label (missing for keep and drop; Float64 if any is a value, else Int64) and
            time.
        """
        rows: list[sqlite3.Row] = []
        if self._path.exists():
            with self._open() as connection:
                # SQLite takes the other columns from the row with the MAX.
                rows = connection.execute(
                    f"SELECT example, split, action, new_label, time, MAX(seq) AS seq FROM log WHERE {_IN_FORCE} "
                    "GROUP BY example, split ORDER BY seq"
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
            }
        )

    def counts(self) -> dict[Action, int]:
        """Count the examples of all splits that are kept, dropped and relabeled by the decisions in force."""
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
                _make_table(connection)
                yield connection
        except sqlite3.Error as error:
            raise InputError(
                f"The decisions in {self._path} cannot be read or saved ({error}): check the disk and its permissions."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that holds the write lock from its start, so that an undo sees the latest record."""
        with self._open() as connection, _locked(connection):
            yield connection


@contextmanager
def _locked(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock for what is done inside, which is done as a whole or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _make_table(connection: sqlite3.Connection) -> None:
    """Make the table of a new log, or add the splits to one from before there were any."""
    connection.execute(_TABLE.format(split=_SPLIT))
    if _has_splits(connection):
        return
    with _locked(connection):
        if not _has_splits(connection):  # another tab may have added them meanwhile
            connection.execute(f"ALTER TABLE log ADD COLUMN {_SPLIT}")


def _has_splits(connection: sqlite3.Connection) -> bool:
    return any(column["name"] == "split" for column in connection.execute("PRAGMA table_info(log)"))


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
