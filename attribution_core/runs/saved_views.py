"""Saved views of a run: a name for the filters and the order of Browse."""

from __future__ import annotations

from dataclasses import dataclass

from attribution_core.errors import InputError
from attribution_core.runs.files import now
from attribution_core.runs.review_file import ReviewFile

LONGEST_NAME = 80  # characters


@dataclass(frozen=True)
class SavedView:
    """A view that somebody saved.

    Attributes:
        name: Its name.
        query: The part of Browse's address that makes the view, without the run.
        reviewer: Who saved it.
        time: When, in UTC.
    """

    name: str
    query: str
    reviewer: str
    time: str


class SavedViews:
    """The saved views of one run."""

    def __init__(self, file: ReviewFile) -> None:
        self._file = file

    def save(self, name: str, query: str, reviewer: str = "") -> None:
        """Save a view, in place of an earlier one of that name.

        Args:
            name: Name of the view.
            query: The part of Browse's address that makes the view, such as ``"where=class%3AShirt&sort=-fsi"``.
            reviewer: Who saves it.

        Raises:
            InputError: If the name is empty or too long, or the file cannot be written.
        """
        text = " ".join(name.split())
        if not 0 < len(text) <= LONGEST_NAME:
            raise InputError(f"The name of a view has 1 to {LONGEST_NAME} characters; {name[:200]!r} was given.")
        self._append(text, query, reviewer)

    def delete(self, name: str, reviewer: str = "") -> None:
        """Delete the view of this name, if there is one; the log keeps that it was there."""
        self._append(name, None, reviewer)

    def _append(self, name: str, query: str | None, reviewer: str) -> None:
        with self._file.writing() as connection:
            connection.execute(
                "INSERT INTO views (time, reviewer, name, query) VALUES (?, ?, ?, ?)", (now(), reviewer, name, query)
            )

    def current(self) -> list[SavedView]:
        """Return the views that there are, by name."""
        if not self._file.exists:
            return []
        with self._file.opened() as connection:
            rows = connection.execute(
                "SELECT name, query, reviewer, time, MAX(seq) FROM views GROUP BY name ORDER BY name COLLATE NOCASE"
            ).fetchall()
        return [
            SavedView(row["name"], row["query"], row["reviewer"], row["time"])
            for row in rows
            if row["query"] is not None
        ]
