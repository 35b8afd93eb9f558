"""Files that are either complete or absent, and a lock that ends with the process that holds it."""

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
    """Return the SHA-256 of the canonical JSON of plain data (sorted keys, no spaces).

    Args:
        obj: Plain data: dictionaries, lists, strings, numbers, booleans and None.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """Return the time in UTC, as ISO 8601 with whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block ends without an exception.

    A process killed at any moment leaves the old file or the new one. The data are on disk before the rename is.
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
    """Yield a temporary directory path beside ``path``, and replace ``path`` by it if the block succeeds.

    The old directory is deleted before the rename; a process killed in between leaves neither. This is why run.json
    marks a stage as done only afterwards.
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
    """Make a rename durable; Windows cannot open a directory and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(directory: Path) -> None:
    """Remove the temporary files that a killed writer left."""
    for partial in list(directory.rglob(f".*{PARTIAL_SUFFIX}")):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


class Lock:
    """A lock that keeps a second process from writing the same run.

    It is an exclusive transaction of SQLite, which works on every system and which the system releases when the process
    dies, so a killed run needs no cleanup.

    Args:
        directory: The run's directory.
        seconds: How long to wait for the lock; a reader who tests whether it is taken holds it for a moment.

    Raises:
        InputError: If another process holds the lock, or the directory cannot be written.
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
                    f"The run {directory} cannot be written ({error}): check the disk space and the permissions."
                ) from error
            raise InputError(
                f"Another process is writing the run {directory}: wait until it ends, or pass another --out."
            ) from error
        self._connection = connection

    def release(self) -> None:
        """Release the lock."""
        self._connection.close()


def is_locked(directory: Path) -> bool:
    """Return whether a process is writing the run now."""
    if not (directory / LOCK_FILE).exists():
        return False
    try:
        Lock(directory).release()
    except InputError:
        return True
    return False
