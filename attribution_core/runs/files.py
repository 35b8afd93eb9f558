"""Files that are either whole or absent, and a lock that dies with its holder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attribution_core.errors import InputError
from attribution_core.runs.names import LOCK_FILE, PARTIAL_SUFFIX


def fingerprint(obj: Any) -> str:
    """SHA-256 of the canonical JSON of plain data (sorted keys, no spaces).

    Args:
        obj: Dictionaries, lists, strings, numbers, booleans and None.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; renames it onto ``path`` when the block ends without an exception.

    A kill at any moment leaves the old file or the new one. The data reach the disk before the name does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def directory_written_atomically(path: Path) -> Iterator[Path]:
    """The same for a directory: whatever stood at ``path`` is gone before the new one takes its name.

    A kill between the two leaves none, which is why run.json names a stage done only afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync_directory(path: Path) -> None:
    """Makes a rename durable; Windows can't open a directory and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(directory: Path) -> None:
    """Removes what a killed writer left behind."""
    for partial in list(directory.rglob(f".*{PARTIAL_SUFFIX}")):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


class Lock:
    """Keeps a second process from writing the same run.

    SQLite's exclusive transaction is a lock that works on every system, and that the system itself lets go when the
    process dies: a killed run needs no clean-up.

    Args:
        directory: Of the run.
        seconds: How long to wait for it; a reader who looks whether it is taken holds it for a moment.

    Raises:
        InputError: Another process has it.
    """

    def __init__(self, directory: Path, seconds: float = 0.0) -> None:
        connection = None
        try:
            connection = sqlite3.connect(
                directory / LOCK_FILE, timeout=seconds, isolation_level=None, check_same_thread=False
            )
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if connection is not None:
                connection.close()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise InputError(
                    f"The run {directory} can't be written ({error}): there may be no room, or no permission."
                ) from error
            raise InputError(
                f"Another process is writing the run {directory}: wait until it ends, or give another --out."
            ) from error
        self._connection = connection

    def release(self) -> None:
        """Lets the next process in."""
        self._connection.close()


def is_locked(directory: Path) -> bool:
    """Whether some process is writing the run now."""
    if not (directory / LOCK_FILE).exists():
        return False
    try:
        Lock(directory).release()
    except InputError:
        return True
    return False
