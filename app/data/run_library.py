"""The runs that this server shows, by the names of their directories, for the pages and the thumbnail route."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from attribution_core.errors import InputError
from attribution_core.export.original import original_file
from attribution_core.runs import Run, RunSummary, list_runs
from attribution_core.runs.names import MANIFEST_FILE, REMARKS_FILE
from attribution_core.runs.remarks import Remarks, read_remarks
from attribution_core.runs.store import SplitName
from attribution_core.runs.trash import empty_trash


@dataclass(frozen=True)
class _Served:
    folder: Path
    first: str | None
    reviewer: str


_served: _Served | None = None


def serve(path: Path, reviewer: str = "") -> None:
    """Choose the runs that this process shows.

    Args:
        path: A folder of runs; or a run, which opens first and is listed with the other runs of its folder.
        reviewer: Name that decisions get until another one is set on a page; "" for none.

    Raises:
        InputError: If the path is neither.
    """
    global _served  # one process serves one folder to all sessions and routes
    path = Path(path).resolve()
    if (path / MANIFEST_FILE).exists():
        Run.open(path)
        _served = _Served(path.parent, path.name, reviewer)
    else:
        list_runs(path)
        _served = _Served(path, None, reviewer)
    empty_trash(_served.folder)


def folder() -> Path:
    """Return the folder that holds the runs."""
    return _current().folder


def first_run() -> str | None:
    """Return the id of the run to open first, or None to let the user choose."""
    return _current().first


def reviewer() -> str:
    """Return the name that decisions get until another one is set on a page; "" for none."""
    return _current().reviewer


def runs() -> list[RunSummary]:
    """Return all runs in the folder, newest first."""
    return list_runs(folder())


def titles_changed() -> tuple[float, ...]:
    """Return when each run or its remarks were last written, by which a list of their titles is cached."""
    files = [*folder().glob(f"*/{MANIFEST_FILE}"), *folder().glob(f"*/{REMARKS_FILE}")]
    return tuple(sorted(_written(file) for file in files))


def _written(file: Path) -> float:
    """Return when a file was last written; 0 if its run was deleted a moment ago."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remarks_of(run: Run) -> Remarks:
    """Return what people wrote about a run; empty where that file is damaged, which saving new remarks mends."""
    try:
        return read_remarks(run.path)
    except InputError:
        return Remarks()


def title_of(run: Run) -> str:
    """Return the name of a run that people gave it, or else its own."""
    return remarks_of(run).title or run.title


def open_run(run_id: str) -> Run:
    """Open a run of the folder; the object is the same until its files change.

    Raises:
        InputError: If the folder has no such run, or the run cannot be opened.
    """
    path = folder() / run_id
    # A run's id is the name of one directory: anything else could reach outside the folder.
    if run_id in ("", ".", "..") or Path(run_id).name != run_id or not (path / MANIFEST_FILE).is_file():
        raise InputError(f"There is no run {run_id!r} in {folder()}. Choose one on the Runs page.")
    try:
        return _opened(path, _changed(path))
    except FileNotFoundError as error:
        raise InputError(f"The run {run_id!r} is no longer in {folder()}.") from error  # it was deleted meanwhile


def thumbnail_url(run: Run, split: str, row: int) -> str:
    """Return the address of a row's thumbnail; it changes when the run is rewritten."""
    return f"/api/thumb/{quote(run.id, safe='')}/{split}/{row}?v={_version_tag(run.version)}"


def original_url(run: Run, split: SplitName, row: int) -> str:
    """Return the address of the file that a row's picture was read from; "" if it is not there."""
    if original_file(run, split, row) is None:
        return ""
    return f"/api/image/{quote(run.id, safe='')}/{split}/{row}?v={_version_tag(run.version)}"


@functools.lru_cache(maxsize=64)
def _version_tag(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=16)
def _opened(path: Path, changed: int) -> Run:  # noqa: ARG001 (a cache key)
    return Run.open(path)


def _changed(path: Path) -> int:
    """Return when run.json was last written, which every stage does last."""
    return (path / MANIFEST_FILE).stat().st_mtime_ns


def _current() -> _Served:
    if _served is None:
        raise InputError("This process serves no runs. Start the app with `samplescope open RUN`.")
    return _served
