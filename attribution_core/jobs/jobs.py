"""Background jobs: processes that outlive the page and the server that started them, known by their files alone.

A job is a directory ``.jobs/KIND-TARGET`` in the folder that holds the runs:

    job.json       the request, and when it was made
    pid            the id of its process
    progress.json  its progress
    log.txt        what it printed
    found.json     what a survey has found so far
    result.json    how it ended, and its result
    cancelled      present once it was asked to stop

The process (:mod:`attribution_core.jobs.runner`) holds a lock on the directory for as long as it lives. That lock
decides whether a job is running, not the process id, which the system gives to other processes later. Each kind of job
has one directory for each run, so that two tabs cannot start the same job twice.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from attribution_core.errors import InputError
from attribution_core.jobs.requests import OPTIONS, JobProgress, JobRequest, JobResult, Kind, run_name
from attribution_core.runs.files import Lock, fingerprint, is_locked, written_atomically

__all__ = [
    "Job",
    "JobProgress",
    "Kind",
    "cancel_job",
    "find_job",
    "forget_job",
    "job_named",
    "jobs_in",
    "options_target",
    "start_job",
    "usable_cores",
]

Content = TypeVar("Content", bound=BaseModel)
Status = Literal["running", "done", "failed", "cancelled", "lost"]

FOLDER = ".jobs"
REQUEST, PID, PROGRESS, LOG = "job.json", "pid", "progress.json", "log.txt"
RESULT, CANCELLED, FOUND = "result.json", "cancelled", "found.json"

_SECONDS_TO_START = 60  # until the process holds its lock: it loads Python and pandas on a machine that may be busy
_SECONDS_TO_END = 5  # between SIGTERM and SIGKILL
_POLL = 0.02
_KEPT: dict[Kind, int] = {"survey": 20, "check": 20}  # jobs about data of which there may be any number
_TAIL_BYTES = 32 * 1024


@dataclass(frozen=True)
class Job:
    """A job, as its files describe it at one moment.

    Attributes:
        path: Its directory.
        kind: What it does.
        target: The run that it works on or makes; for a survey or a check, :func:`options_target`.
        options: The options of its kind, see :data:`attribution_core.jobs.requests.OPTIONS`.
        started: Time of the request in UTC, ISO 8601.
        status: ``"lost"`` means that the process ended without a result: it was killed, or the machine restarted.
        progress: The latest progress.
        message: Why it ended without a result, in a sentence.
        result: Its result, as plain data.
        seconds: How long it took, if it ended by itself.
    """

    path: Path
    kind: Kind
    target: str
    options: dict[str, Any]
    started: str
    status: Status
    progress: JobProgress = field(default_factory=JobProgress)
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def id(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def folder(self) -> Path:
        """Folder that holds the runs."""
        return self.path.parent.parent

    def found(self) -> dict[str, Any]:
        """Return what a survey has found so far, as plain data; empty before its first report."""
        try:
            return dict(json.loads((self.path / FOUND).read_bytes()))
        except (OSError, ValueError):
            return {}

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines that the process printed."""
        try:
            with (self.path / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


# -- Finding ---------------------------------------------------------------------------------------------------------


def jobs_in(folder: Path) -> list[Job]:
    """Return the jobs of a folder of runs, the latest first; other directories are ignored."""
    try:
        names = [entry.name for entry in os.scandir(Path(folder) / FOLDER) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    jobs = [job for name in names if (job := job_named(folder, name)) is not None]
    return sorted(jobs, key=lambda job: job.started, reverse=True)


def find_job(folder: Path, kind: Kind, target: str) -> Job | None:
    """Return the job of a kind for a run, running or ended; None if there is none."""
    return job_named(folder, f"{kind}-{target}")


def job_named(folder: Path, job_id: str) -> Job | None:
    """Return the job with an id; None if there is none, however malformed the id is."""
    kind, _, target = job_id.partition("-")
    try:
        run_name(target)
    except ValueError:
        return None
    path = Path(folder) / FOLDER / job_id
    if kind not in OPTIONS or path.is_symlink():
        return None
    request = _read(JobRequest, path / REQUEST)
    if request is None or (request.kind, request.target) != (kind, target):
        return None
    return _as_found(path, request)


def options_target(options: Mapping[str, Any]) -> str:
    """Return the target of a survey or a check, which has no run: a digest of its options, to find it again by."""
    return fingerprint(dict(options))[:16]


def _as_found(path: Path, request: JobRequest) -> Job:
    """Return the job in a directory with its present status."""
    progress = _read(JobProgress, path / PROGRESS) or JobProgress()
    job = Job(path, request.kind, request.target, request.options, request.started, "running", progress)
    ended = _read(JobResult, path / RESULT)
    if ended is None and _is_running(path, request):
        return job
    ended = ended or _read(JobResult, path / RESULT)  # it may have ended between the two reads
    if ended is not None:
        return replace(
            job, status=ended.status, message=ended.message, result=dict(ended.result), seconds=ended.seconds
        )
    if (path / CANCELLED).exists():
        return replace(job, status="cancelled", message="It was stopped. Everything that it finished is kept.")
    return replace(
        job,
        status="lost",
        message="Its process ended without a result: the machine was restarted, or its memory ran out. Everything that "
        "it finished is kept.",
    )


def _is_running(path: Path, request: JobRequest) -> bool:
    if (path / PID).exists():
        return _is_held(path)
    age = datetime.now(UTC) - datetime.fromisoformat(request.started)  # its process may not hold its lock yet
    return age.total_seconds() < _SECONDS_TO_START


def _is_held(path: Path) -> bool:
    """Return whether a process holds the lock; another reader that tests the lock holds it for a moment only."""
    for _ in range(3):
        if not is_locked(path):
            return False
        time.sleep(0.003)
    return True


def _read(content: type[Content], path: Path) -> Content | None:
    """Read a small file of plain data; None if it is missing or damaged."""
    try:
        return content.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def usable_cores() -> int:
    """Return the number of cores that this process may use, one for each training that runs at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- Starting and stopping -------------------------------------------------------------------------------------------


def start_job(folder: Path, kind: str, options: Mapping[str, Any], target: str) -> Job:
    """Start a job, unless it is running: then return that one, with the options it was started with.

    Args:
        folder: Folder that holds the runs.
        kind: What the job does, see :data:`attribution_core.jobs.requests.OPTIONS`.
        options: The options of the kind, as plain data.
        target: Name of the run that the job works on or makes; for a survey or a check, :func:`options_target`.

    Returns:
        The job, running.

    Raises:
        InputError: The kind does not accept the options, the target cannot be a run's name, or the folder is not
            writable.
    """
    request = JobRequest.checked(kind, target, options, datetime.now(UTC).isoformat())
    path = Path(folder).resolve() / FOLDER / f"{kind}-{target}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _one_starter(path.parent):
            before = job_named(path.parent.parent, path.name)
            if before is not None and before.status == "running":
                return before
            for name in (PID, PROGRESS, LOG, RESULT, CANCELLED, FOUND):
                (path / name).unlink(missing_ok=True)
            with written_atomically(path / REQUEST) as partial:
                partial.write_text(request.model_dump_json(indent=2), encoding="utf-8")
            _start_process(path)
    except OSError as error:
        raise InputError(f"Cannot start a job in {path.parent}: {error}.") from error
    if request.kind in _KEPT:
        _forget_old(path.parent.parent, request.kind)
    return _as_found(path, request)


def cancel_job(job: Job) -> Job:
    """Stop a job and the processes that it started. Started again, it resumes the run that it was making.

    Returns:
        The job afterwards: cancelled, or ended by itself.
    """
    current = job_named(job.folder, job.id)
    if current is None or current.status != "running":
        return current or job
    (job.path / CANCELLED).touch()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if (group := _group_of(job.path)) is None:
            break
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        until = time.monotonic() + _SECONDS_TO_END
        while _is_held(job.path) and time.monotonic() < until:
            time.sleep(_POLL)
    return job_named(job.folder, job.id) or job


def forget_job(job: Job) -> None:
    """Remove the files of a job that has ended; the run that it made stays."""
    with _one_starter(job.path.parent):
        found = job_named(job.folder, job.id)
        if found is not None and found.status != "running":
            shutil.rmtree(job.path, ignore_errors=True)


@contextmanager
def _one_starter(jobs: Path) -> Iterator[None]:
    """Let one process at a time start jobs in a folder, while the others wait."""
    try:
        lock = Lock(jobs, 2.0 * _SECONDS_TO_START)
    except InputError as error:
        raise InputError(f"Another process is still starting a job in {jobs}: try again in a minute.") from error
    try:
        yield
    finally:
        lock.release()


def _start_process(path: Path) -> None:
    """Start the process in its own session, and wait until it holds its lock."""
    command = [sys.executable, "-m", "attribution_core.jobs.runner", str(path)]
    with (path / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    threading.Thread(target=process.wait, daemon=True).start()  # otherwise it would stay a zombie
    until = time.monotonic() + _SECONDS_TO_START
    while not (path / PID).exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(_POLL)


def _group_of(path: Path) -> int | None:
    """Return the process group of a running job; None if it is not running, or its file names another process."""
    if not _is_held(path):
        return None
    try:
        pid = int((path / PID).read_text())
        return pid if pid > 1 and os.getpgid(pid) == pid else None
    except (OSError, ValueError):
        return None


def _forget_old(folder: Path, kind: Kind) -> None:
    ended = [job for job in jobs_in(folder) if job.kind == kind and job.status != "running"]
    for job in ended[_KEPT[kind] :]:
        forget_job(job)
