"""Tags and notes on a run's examples, in its append-only log."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.files import now
from attribution_core.runs.review_file import ReviewFile, Split, in_force, next_step, require_split

LONGEST_TAG = 60  # characters
TAG_SEPARATOR = ";"  # between the tags of an example in a file

_NOT_IN_TAGS = ",;\"'"  # filters and files separate and quote tags by these
_INSERT = "INSERT INTO annotations (batch, time, example, split, action, text, reviewer) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Annotations:
    """The tags and notes of one run: an example has any number of tags, and one note, which the latest replaces."""

    def __init__(self, file: ReviewFile) -> None:
        self._file = file

    def tag(self, examples: Sequence[tuple[str, str]], tag: str, reviewer: str = "") -> None:
        """Put a tag on each of some examples, as one step.

        Args:
            examples: Split and id of each.
            tag: The tag.
            reviewer: Who puts it there.

        Raises:
            InputError: If the tag is empty, too long or has a comma, semicolon, quote or control character, a split is
                unknown, or the file cannot be written.
        """
        self._append(examples, "tag", tag_text(tag), reviewer)

    def untag(self, examples: Sequence[tuple[str, str]], tag: str, reviewer: str = "") -> None:
        """Take a tag off each of some examples, as one step; the arguments are those of :meth:`tag`."""
        self._append(examples, "untag", tag_text(tag), reviewer)

    def note(self, examples: Sequence[tuple[str, str]], text: str, reviewer: str = "") -> None:
        """Write a note on each of some examples, in place of an earlier one; an empty one removes it.

        Args:
            examples: Split and id of each.
            text: The note.
            reviewer: Who writes it.

        Raises:
            InputError: If a split is unknown, or the file cannot be written.
        """
        self._append(examples, "note", text.strip(), reviewer)

    def _append(
        self, examples: Sequence[tuple[str, str]], action: Literal["tag", "untag", "note"], text: str, reviewer: str
    ) -> None:
        for split in {split for split, _ in examples}:
            require_split(split)
        with self._file.writing() as connection:
            step, moment = next_step(connection), now()
            rows = [(step, moment, example, split, action, text, reviewer) for split, example in examples]
            connection.executemany(_INSERT, rows)

    def current(self) -> pd.DataFrame:
        """Return the examples that have tags or a note.

        Returns:
            Columns id, split, tags (a tuple of texts, in alphabetical order) and note ("" for none).
        """
        tags: dict[tuple[str, Split], list[str]] = {}
        notes: dict[tuple[str, Split], str] = {}
        for row in self._latest():
            key = row["example"], row["split"]
            if row["action"] == "tag":
                tags.setdefault(key, []).append(row["text"])
            elif row["action"] == "note" and row["text"]:
                notes[key] = row["text"]
        keys = list({**tags, **notes})
        return pd.DataFrame(
            {
                "id": pd.Series([id_ for id_, _ in keys], dtype="str"),
                "split": pd.Series([split for _, split in keys], dtype="str"),
                "tags": pd.Series([tuple(sorted(tags.get(key, ()))) for key in keys], dtype="object"),
                "note": pd.Series([notes.get(key, "") for key in keys], dtype="str"),
            }
        )

    def tags(self) -> dict[str, int]:
        """Return how many examples have each tag, the most frequent first."""
        counts: dict[str, int] = {}
        for row in self._latest():
            if row["action"] == "tag":
                counts[row["text"]] = counts.get(row["text"], 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def version(self) -> int:
        """Return a number that grows with every tag, note and undo of one: a cache key for what depends on them."""
        if not self._file.exists:
            return 0
        with self._file.opened() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM annotations").fetchone()[0])

    def _latest(self) -> list[sqlite3.Row]:
        """Return, for each example, the latest record in force about each tag, and about the note."""
        if not self._file.exists:
            return []
        with self._file.opened() as connection:
            # SQLite takes the other columns from the row with the MAX.
            return connection.execute(
                "SELECT example, split, action, text, MAX(seq) FROM annotations "
                f"WHERE {in_force('annotations')} "
                "GROUP BY example, split, CASE action WHEN 'note' THEN NULL ELSE text END ORDER BY MAX(seq)"
            ).fetchall()


def tag_text(tag: str) -> str:
    """Return a tag as it is kept: with single spaces only.

    Raises:
        InputError: If it is empty or longer than :data:`LONGEST_TAG`, or has a comma, semicolon, quote or a character
            that cannot be printed.
    """
    text = " ".join(tag.split())
    if not 0 < len(text) <= LONGEST_TAG or any(each in _NOT_IN_TAGS or not each.isprintable() for each in text):
        raise InputError(
            f"A tag has 1 to {LONGEST_TAG} characters and no comma, semicolon or quote; {tag[: 2 * LONGEST_TAG]!r} was "
            "given."
        )
    return text
