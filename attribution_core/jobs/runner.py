"""The process of a background job: ``python -m attribution_core.jobs.runner DIRECTORY``.

It does what the directory's job.json asks for, one of a few known kinds, and writes how far it is and how it ended.
A signal simply ends it: every kind keeps what it has finished, and its worker processes end with it.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from attribution_core.errors import InputError, resource_error, validation_message
from attribution_core.jobs.jobs import ASKED, PID, PROGRESS, RESULT, usable_cores
from attribution_core.jobs.requests import JobProgress, JobRequest, JobResult, Kind, no_code
from attribution_core.progress import listening
from attribution_core.runs.files import Lock, written_atomically
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.store import read_manifest

if TYPE_CHECKING:  # torch takes seconds to load
    from attribution_core.preparation.prepare import Prepared

_SECONDS_BETWEEN_WRITES = 0.2
_SECONDS_FOR_LOCK = 10.0  # a reader who looks whether it is taken holds it for a moment
_LISTED = 500  # unreadable images


def main(argv: list[str] | None = None) -> int:
    """Does one job.

    Args:
        argv: The job's directory.

    Returns:
        0; 1 where it failed, as its result.json says.
    """
    path = Path((sys.argv[1:] if argv is None else argv)[0]).resolve()
    lock = Lock(path, _SECONDS_FOR_LOCK)
    try:
        _write(path / PID, str(os.getpid()))
        began = time.monotonic()
        result, message = _done(path)
        seconds = round(time.monotonic() - began, 3)
        ended = JobResult(status="failed" if message else "done", message=message, result=result, seconds=seconds)
        with written_atomically(path / RESULT) as partial:
            partial.write_text(ended.model_dump_json(), encoding="utf-8")
    finally:
        lock.release()
    return 1 if message else 0


def _done(path: Path) -> tuple[dict[str, Any], str]:
    """What came of the job, and why nothing did, in a sentence."""
    try:
        asked = JobRequest.model_validate_json((path / ASKED).read_bytes())
        asked = JobRequest.checked(asked.kind, asked.target, asked.options, asked.started)
        _refuse_code(path.parent.parent, asked)
        with listening(_Reporter(path / PROGRESS)):
            return _WORK[asked.kind](path.parent.parent, asked.target, asked.options), ""
    except InputError as error:
        return {}, str(error)
    except ValidationError as error:
        return {}, validation_message(error)
    except Exception as error:  # noqa: BLE001 (the last resort: one sentence for a person, the traceback in the log)
        if refused := resource_error(error):
            return {}, str(refused)
        traceback.print_exc()
        return {}, f"Something went wrong that should not ({type(error).__name__}: {error}); its log shows where."


def _refuse_code(folder: Path, asked: JobRequest) -> None:
    """No file of Python is run for a page, even where the run that it asks about was made with one."""
    name = asked.options.get("parent") if asked.kind == "clean" else asked.target
    if asked.kind in ("verify", "summarize", "clean") and (folder / str(name) / MANIFEST_FILE).is_file():
        try:
            no_code(str(read_manifest(folder / str(name)).config.get("model", "")))
        except ValueError as error:
            raise InputError(f"The run {name} has {error}, and so is what builds on it.") from error


class _Reporter:
    """Writes the latest activity, at most a few times a second; a new activity at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = -1.0
        self._activity = ""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report that ``done`` of ``total`` steps of the activity ``what`` are done."""
        activity, moment = what.partition(",")[0], time.monotonic()
        if activity != self._activity or moment - self._written >= _SECONDS_BETWEEN_WRITES:
            self._activity, self._written = activity, moment
            _write(self._path, JobProgress(done=done, total=total, what=what).model_dump_json())


def _write(path: Path, text: str) -> None:
    """Whole or absent for readers; it need not outlive the machine's next fall, so the disk is not waited for."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


# -- the kinds; each loads what it needs -----------------------------------------------------------------------------


def _check(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """What is in the data, and what scoring it with these options will take; or why these options can't be taken."""
    from attribution_core.preparation.config import ScoreConfig
    from attribution_core.preparation.prepare import prepare
    from attribution_core.scoring.estimate import estimate_prepared

    began = time.perf_counter()
    prepared = prepare(ScoreConfig.model_validate(options))
    seconds = time.perf_counter() - began
    found: dict[str, Any] = {"found": _facts(prepared), "estimate": None, "problem": ""}
    try:
        found["estimate"] = asdict(estimate_prepared(prepared, seconds))
    except InputError as error:
        found["problem"] = str(error)
    return found


def _facts(prepared: Prepared) -> dict[str, Any]:
    """What a person wants to see before a dataset is scored, as plain data."""
    import numpy as np

    splits = prepared.splits
    names = splits.train.strata_names
    sizes = np.concatenate([split.sizes for split in splits])
    (low, high), (narrow, wide) = ((int(side.min()), int(side.max())) for side in sizes.T)
    counts = {name: np.bincount(split.strata, minlength=len(names)) for name, split in prepared.named_splits.items()}
    return {
        "name": splits.name,
        "location": splits.location,
        "class_names": names,
        "counts": {name: count.tolist() for name, count in counts.items()},
        "values": splits.train.values.name if splits.train.values is not None else None,
        "kind": splits.train.kind,
        "colour": splits.train.mode == "RGB",
        "heights": [low, high],
        "widths": [narrow, wide],
        "input_shape": list(prepared.input_shape),
        "model": prepared.model_name,
        "unreadable": [asdict(each) for each in splits.unreadable[:_LISTED]],
        "num_unreadable": len(splits.unreadable),
        "notes": splits.notes,
    }


def _score(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.preparation.config import ScoreConfig
    from attribution_core.scoring.score import score

    run = score(ScoreConfig.model_validate({**options, "out": folder / target}))
    return {"run": run.id}


def _verify(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.verify import verify

    verify(folder / target, **_with_processes(options))
    return {"run": target}


def _summarize(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.summarize import summarize

    summarize(folder / target, **_with_processes(options))
    return {"run": target}


def _clean(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.clean import clean

    where = {"data": options["data"], "device": options["device"]}
    run = clean(folder / options["parent"], folder / target, **where)
    return {"run": run.id}


def _with_processes(options: Mapping[str, Any]) -> dict[str, Any]:
    """As many processes as cores that this one may use, where none were asked for."""
    asked = options["processes"]
    return {**options, "processes": usable_cores() if asked is None else asked}


_WORK: dict[Kind, Callable[[Path, str, Mapping[str, Any]], dict[str, Any]]] = {
    "check": _check,
    "score": _score,
    "verify": _verify,
    "summarize": _summarize,
    "clean": _clean,
}


if __name__ == "__main__":
    sys.exit(main())
