"""Background jobs: processes that outlive the page and the server that started them, known by their files alone.

A job is a directory ``.jobs/KIND-TARGET`` in the folder that holds the runs:

    job.json       what was asked for, and when
    pid            of its process
    progress.json  how far it is
    log.txt        what it printed
    result.json    how it ended, and what came of it
    cancelled      it was told to stop

The process (:mod:`attribution_core.jobs.runner`) holds a lock on the directory for as long as it lives. Whether a job
is running is told by that lock, not by the process's number, which the system gives to others later. What is done to a
run has one directory, so the same can't be done twice at a time, from whichever tab it is started.
"""

from __future__ import annotations

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
from attribution_core.jobs.requests import KINDS, JobProgress, JobRequest, JobResult, Kind, run_name
from attribution_core.runs.files import Lock, fingerprint, is_locked, written_atomically

__all__ = [
    "KINDS",
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
ASKED, PID, PROGRESS, LOG, RESULT, CANCELLED = "job.json", "pid", "progress.json", "log.txt", "result.json", "cancelled"

_SECONDS_TO_START = 60  # until the process has its lock: it loads Python and pandas, on a machine that may be busy
_SECONDS_TO_END = 5  # after SIGTERM; then it is killed
_POLL = 0.02
_KEPT_CHECKS = 20
_TAIL_BYTES = 32 * 1024


@dataclass(frozen=True)
class Job:
    """A job as its files say at one moment.

    Attributes:
        path: Its directory.
        kind: What it does, one of :data:`KINDS`.
        target: The run that it is done to, or makes.
        options: As of the kind.
        started: The time in UTC, ISO 8601.
        status: ``"lost"`` is a job whose process is gone without a word: killed, or the machine was restarted.
        progress: The latest activity.
        message: Why it ended without a result, in a sentence.
        result: What came of it, as plain data.
        seconds: That it took, once it ended by itself.
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
        """The directory's name."""
        return self.path.name

    @property
    def folder(self) -> Path:
        """That holds the runs."""
        return self.path.parent.parent

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what the process printed."""
        try:
            with (self.path / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


# -- finding ---------------------------------------------------------------------------------------------------------


def jobs_in(folder: Path) -> list[Job]:
    """The jobs of a folder of runs, the latest first; directories that are no jobs are passed over."""
    try:
        names = [entry.name for entry in os.scandir(Path(folder) / FOLDER) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    jobs = [job for name in names if (job := job_named(folder, name)) is not None]
    return sorted(jobs, key=lambda job: job.started, reverse=True)


def find_job(folder: Path, kind: Kind, target: str) -> Job | None:
    """The job of this kind for this run, running or ended; None where there was none."""
    return job_named(folder, f"{kind}-{target}")


def job_named(folder: Path, job_id: str) -> Job | None:
    """The job of this id; None where there is none, whatever the id is."""
    kind, _, target = job_id.partition("-")
    try:
        run_name(target)
    except ValueError:
        return None
    path = Path(folder) / FOLDER / job_id
    if kind not in KINDS or path.is_symlink():
        return None
    asked = _read(JobRequest, path / ASKED)
    return _as_found(path, asked) if asked is not None and (asked.kind, asked.target) == (kind, target) else None


def options_target(options: Mapping[str, Any]) -> str:
    """The target of a check, which has no run: made of its options, so that the same check is found again."""
    return fingerprint(dict(options))[:16]


def _as_found(path: Path, asked: JobRequest) -> Job:
    job = Job(path, asked.kind, asked.target, asked.options, asked.started, "running")
    ended = _read(JobResult, path / RESULT)
    if ended is None and _is_running(path, asked):
        return replace(job, progress=_read(JobProgress, path / PROGRESS) or JobProgress())
    ended = ended or _read(JobResult, path / RESULT)  # it may have ended between the two looks
    if ended is not None:
        return replace(
            job, status=ended.status, message=ended.message, result=dict(ended.result), seconds=ended.seconds
        )
    if (path / CANCELLED).exists():
        return replace(job, status="cancelled", message="It was stopped; what it had finished is kept.")
    return replace(
        job,
        status="lost",
        message="Its process ended without a word: the machine was restarted, or its memory ran out. What it had "
        "finished is kept.",
    )


def _is_running(path: Path, asked: JobRequest) -> bool:
    if (path / PID).exists():
        return _is_held(path)
    age = datetime.now(UTC) - datetime.fromisoformat(asked.started)  # its process may not have come to its lock yet
    return age.total_seconds() < _SECONDS_TO_START


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock, and not just another reader who looks for one."""
    for _ in range(3):
        if not is_locked(path):
            return False
        time.sleep(0.003)
    return True


def _read(content: type[Content], path: Path) -> Content | None:
    """A small file of plain data; None where there is none, or it is damaged."""
    try:
        return content.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def usable_cores() -> int:
    """Cores that this process may use: so many trainings run side by side."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- starting and stopping -------------------------------------------------------------------------------------------


def start_job(folder: Path, kind: str, options: Mapping[str, Any], target: str) -> Job:
    """Starts a job, unless it is running: then that one is returned, with the options it was started with.

    Args:
        folder: That holds the runs.
        kind: One of :data:`KINDS`.
        options: As of the kind, plain data.
        target: Name of the run that it is done to or makes; of a check, :func:`options_target`.

    Returns:
        The job, running.

    Raises:
        InputError: Options that the kind does not take, a name that is no run's, or a folder that can't be written.
    """
    asked = JobRequest.checked(kind, target, options, datetime.now(UTC).isoformat())
    path = Path(folder).resolve() / FOLDER / f"{kind}-{target}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _one_starter(path.parent):
            before = job_named(path.parent.parent, path.name)
            if before is not None and before.status == "running":
                return before
            for name in (PID, PROGRESS, LOG, RESULT, CANCELLED):
                (path / name).unlink(missing_ok=True)
            with written_atomically(path / ASKED) as partial:
                partial.write_text(asked.model_dump_json(indent=2), encoding="utf-8")
            _start_process(path)
    except OSError as error:
        raise InputError(f"A job could not be started in {path.parent}: {error}.") from error
    if asked.kind == "check":
        _forget_old_checks(path.parent.parent)
    return _as_found(path, asked)


def cancel_job(job: Job) -> Job:
    """Stops a job and the processes that it started; a run that it was making goes on when it is started again.

    Returns:
        The job as it is then: cancelled, or as it had ended by itself.
    """
    now_ = job_named(job.folder, job.id)
    if now_ is None or now_.status != "running":
        return now_ or job
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
    """Removes what is kept of a job that has ended; what came of it stays."""
    with _one_starter(job.path.parent):
        found = job_named(job.folder, job.id)
        if found is not None and found.status != "running":
            shutil.rmtree(job.path, ignore_errors=True)


@contextmanager
def _one_starter(jobs: Path) -> Iterator[None]:
    """Lets one process at a time start jobs in a folder; the others wait for it."""
    try:
        lock = Lock(jobs, 2.0 * _SECONDS_TO_START)
    except InputError as error:
        raise InputError(f"Another process has been starting a job in {jobs} for long: try again.") from error
    try:
        yield
    finally:
        lock.release()


def _start_process(path: Path) -> None:
    """Starts the process, in a session of its own, and waits until it has its lock."""
    command = [sys.executable, "-m", "attribution_core.jobs.runner", str(path)]
    with (path / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay in the table of processes
    until = time.monotonic() + _SECONDS_TO_START
    while not (path / PID).exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(_POLL)


def _group_of(path: Path) -> int | None:
    """The group of a running job's processes; None where it is not running, or its file names another's."""
    if not _is_held(path):
        return None
    try:
        pid = int((path / PID).read_text())
        return pid if pid > 1 and os.getpgid(pid) == pid else None
    except (OSError, ValueError):
        return None


def _forget_old_checks(folder: Path) -> None:
    checks = [job for job in jobs_in(folder) if job.kind == "check" and job.status != "running"]
    for job in checks[_KEPT_CHECKS:]:
        forget_job(job)
