"""The file of a run's review: append-only tables in SQLite that several browser tabs can write at once.

No record is ever changed or deleted: an undo is a record that cancels an earlier one. What is done in one step has one
number, whatever the table, so that it is undone in one step.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, get_args

from attribution_core.errors import InputError
from attribution_core.runs.files import now

Split = Literal["train", "validation", "test"]
Table = Literal["log", "annotations"]

_SECONDS_TO_WAIT = 30.0  # until another tab has written

# A log from before examples of other splits could be decided about gets the first column, and its records are about
# training examples; one from before reviewers had names gets the second.
_LATER_COLUMNS = {
    "split": "TEXT NOT NULL DEFAULT 'train' CHECK (split IN ('train', 'validation', 'test'))",
    "reviewer": "TEXT NOT NULL DEFAULT ''",
}
_LATER = ",\n    ".join(f"{name} {kind}" for name, kind in _LATER_COLUMNS.items())

_TABLES = f"""
CREATE TABLE IF NOT EXISTS log (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch     INTEGER NOT NULL,                  -- the step: what is done together is undone together
    time      TEXT NOT NULL,
    example   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('keep', 'drop', 'relabel', 'undo')),
    new_label INTEGER CHECK ((action = 'relabel') = (new_label IS NOT NULL)),
    cancels   INTEGER UNIQUE REFERENCES log (seq) CHECK ((action = 'undo') = (cancels IS NOT NULL)),
    {_LATER}
);
CREATE TABLE IF NOT EXISTS annotations (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch     INTEGER NOT NULL,
    time      TEXT NOT NULL,
    example   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('tag', 'untag', 'note', 'undo')),
    text      TEXT NOT NULL,
    cancels   INTEGER UNIQUE REFERENCES annotations (seq) CHECK ((action = 'undo') = (cancels IS NOT NULL)),
    {_LATER}
);
CREATE TABLE IF NOT EXISTS views (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    time      TEXT NOT NULL,
    reviewer  TEXT NOT NULL,
    name      TEXT NOT NULL,
    query     TEXT                               -- of the page's address, none where the view was deleted
);
"""


class ReviewFile:
    """The file of one run's review, which may not exist yet; each use opens it anew, so threads and tabs can share it.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.exists()

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file; its tables are made or brought up to date.

        Raises:
            InputError: If it cannot be read or written.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                _use_wal(connection)
                _make_tables(connection)
                yield connection
        except sqlite3.Error as error:
            raise InputError(
                f"The decisions in {self.path} cannot be read or saved ({error}): check the disk and its permissions."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that holds the write lock from its start, so that an undo sees the latest record."""
        with self.opened() as connection, _locked(connection):
            yield connection

    def version(self) -> int:
        """Return a number that grows with every decision, tag, note and undo."""
        if not self.exists:
            return 0
        with self.opened() as connection:
            newest = "SELECT COALESCE(MAX(seq), 0) FROM"
            return int(connection.execute(f"SELECT ({newest} log) + ({newest} annotations)").fetchone()[0])


def in_force(table: Table) -> str:
    """Return the SQL condition for the records of a table that are not canceled, nor cancel others."""
    return f"action != 'undo' AND seq NOT IN (SELECT cancels FROM {table} WHERE cancels IS NOT NULL)"


def next_step(connection: sqlite3.Connection) -> int:
    """Return the number of a new step."""
    last = "SELECT COALESCE(MAX(batch), 0) FROM"
    return int(connection.execute(f"SELECT MAX(({last} log), ({last} annotations)) + 1").fetchone()[0])


def cancel(connection: sqlite3.Connection, table: Table, rows: Sequence[sqlite3.Row], reviewer: str) -> None:
    """Append the records that cancel some rows of a table, as one step."""
    text, value = (", text", ", ''") if table == "annotations" else ("", "")
    step, moment = next_step(connection), now()
    connection.executemany(
        f"INSERT INTO {table} (batch, time, example, split, action, cancels, reviewer{text}) "
        f"VALUES (?, ?, ?, ?, 'undo', ?, ?{value})",
        [(step, moment, row["example"], row["split"], row["seq"], reviewer) for row in rows],
    )


def require_split(split: str) -> None:
    """Refuse an unknown split.

    Raises:
        InputError: If it is unknown.
    """
    if split not in get_args(Split):
        raise InputError(f"A decision is about an example of {', '.join(get_args(Split))}; {split!r} was given.")


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


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, or add to an old one what it lacks."""
    if _is_current(connection):
        return
    with _locked(connection):  # another tab may have done it meanwhile
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        for column in _lacking(connection):
            connection.execute(f"ALTER TABLE log ADD COLUMN {column} {_LATER_COLUMNS[column]}")


def _is_current(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name IN ('log', 'annotations', 'views')")
    return tables.fetchone()[0] == 3 and not _lacking(connection)


def _lacking(connection: sqlite3.Connection) -> list[str]:
    has = {column["name"] for column in connection.execute("PRAGMA table_info(log)")}
    return [column for column in _LATER_COLUMNS if column not in has]


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
