"""Which runs this server shows. Pages and the thumbnail route find them here, by the names of their directories."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from attribution_core.errors import InputError
from attribution_core.runs import Run, RunSummary, list_runs
from attribution_core.runs.names import MANIFEST_FILE


@dataclass(frozen=True)
class _Served:
    folder: Path
    first: str | None


_served: _Served | None = None


def serve(path: Path) -> None:
    """Chooses what this process shows.

    Args:
        path: A run, which then opens first and stands among its siblings, or a folder that holds runs.

    Raises:
        InputError: If it is neither.
    """
    global _served  # one process serves one folder, to all its sessions and routes
    path = Path(path).resolve()
    if (path / MANIFEST_FILE).exists():
        Run.open(path)
        _served = _Served(path.parent, path.name)
    else:
        list_runs(path)
        _served = _Served(path, None)


def folder() -> Path:
    """The folder that holds the runs."""
    return _current().folder


def first_run() -> str | None:
    """The run to open first, or None to let the user choose."""
    return _current().first


def runs() -> list[RunSummary]:
    """All runs in the folder, newest first."""
    return list_runs(folder())


def open_run(run_id: str) -> Run:
    """Opens a run of the folder; the same object again until its files change.

    Raises:
        InputError: If the folder has no such run, or it can't be opened.
    """
    path = folder() / run_id
    # A run's id is one directory name: anything else would reach out of the folder.
    if run_id in ("", ".", "..") or Path(run_id).name != run_id or not (path / MANIFEST_FILE).is_file():
        raise InputError(f"There is no run {run_id!r} in {folder()}: choose one on the page Runs.")
    return _opened(path, _changed(path))


def thumbnail_url(run: Run, split: str, row: int) -> str:
    """Where the thumbnail route serves a row; the address changes when the run is written anew."""
    return f"/api/thumb/{quote(run.id, safe='')}/{split}/{row}?v={_version_tag(run.version)}"


@functools.lru_cache(maxsize=64)
def _version_tag(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=16)
def _opened(path: Path, changed: int) -> Run:  # noqa: ARG001 (a cache key)
    return Run.open(path)


def _changed(path: Path) -> int:
    """Every stage of a writer ends with run.json."""
    return (path / MANIFEST_FILE).stat().st_mtime_ns


def _current() -> _Served:
    if _served is None:
        raise InputError("No runs are served: start the app with samplescope open RUN.")
    return _served
