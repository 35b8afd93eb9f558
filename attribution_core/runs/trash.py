"""Deleted runs: they move to a folder beside the runs, can be put back, and are removed for good weeks later."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from attribution_core.errors import InputError
from attribution_core.runs.files import is_locked
from attribution_core.runs.names import MANIFEST_FILE, TRASH_FOLDER

KEPT_DAYS = 30
_DAY = 24 * 60 * 60  # seconds


@dataclass(frozen=True)
class DeletedRun:
    """A run in the trash.

    Attributes:
        path: Where it is now.
        id: The id that it had.
        deleted: When it was deleted, in seconds since 1970.
    """

    path: Path
    id: str
    deleted: float


def delete_run(folder: Path, run_id: str) -> DeletedRun:
    """Move a run of a folder into the folder's trash.

    Raises:
        InputError: There is no such run, a process is writing it, or the folder is not writable.
    """
    path = folder / run_id
    if Path(run_id).name != run_id or run_id.startswith(".") or not (path / MANIFEST_FILE).is_file():
        raise InputError(f"There is no run {run_id!r} in {folder}.")
    if is_locked(path):
        raise InputError(f"{run_id} is being written: cancel that first.")
    moment = time.time()
    target = folder / TRASH_FOLDER / f"{moment:.3f} {run_id}"
    try:
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    except OSError as error:
        raise InputError(f"{run_id} cannot be deleted: {error.strerror}.") from error
    return DeletedRun(target, run_id, moment)


def deleted_runs(folder: Path) -> list[DeletedRun]:
    """Return the runs in a folder's trash, the latest first."""
    found = []
    for path in (folder / TRASH_FOLDER).glob("*"):
        moment, _, run_id = path.name.partition(" ")
        if run_id and moment.replace(".", "", 1).isdigit():
            found.append(DeletedRun(path, run_id, float(moment)))
    return sorted(found, key=lambda each: each.deleted, reverse=True)


def restore_run(folder: Path, deleted: DeletedRun) -> None:
    """Put a deleted run back under its id.

    Raises:
        InputError: Another run has this id now, the run is no longer in the trash, or the folder is not writable.
    """
    if (folder / deleted.id).exists():
        raise InputError(f"There is another run {deleted.id} now: delete or move that one first.")
    try:
        deleted.path.rename(folder / deleted.id)
    except OSError as error:
        raise InputError(f"{deleted.id} cannot be put back: {error.strerror}.") from error


def empty_trash(folder: Path, days: float = KEPT_DAYS) -> list[str]:
    """Remove for good what was deleted more than ``days`` days ago; return the ids."""
    old = [each for each in deleted_runs(folder) if each.deleted < time.time() - days * _DAY]
    for each in old:
        shutil.rmtree(each.path, ignore_errors=True)
    return [each.id for each in old]
