"""The process of a background job: ``python -m attribution_core.jobs.runner DIRECTORY``.

It carries out the request in the directory's job.json, which is of one of a few known kinds, and writes its progress
and its result. A signal simply ends it: every kind keeps what it has finished, and its worker processes end with it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from attribution_core.errors import InputError, resource_error, validation_message
from attribution_core.jobs.jobs import FOLDER, FOUND, PID, PROGRESS, REQUEST, RESULT, usable_cores
from attribution_core.jobs.requests import JobProgress, JobRequest, JobResult, Kind, is_python_file
from attribution_core.progress import listening, report
from attribution_core.runs.files import Lock, written_atomically
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.store import read_manifest

if TYPE_CHECKING:  # torch takes seconds to load
    from attribution_core.preparation.prepare import Prepared

_SECONDS_BETWEEN_WRITES = 0.2
_SECONDS_FOR_LOCK = 10.0  # a reader that tests the lock holds it for a moment
_LISTED = 500  # unreadable files that a check lists at most


def main(argv: list[str] | None = None) -> int:
    """Carry out one job.

    Args:
        argv: The job's directory.

    Returns:
        0, or 1 if it failed; result.json says why.
    """
    path = Path((sys.argv[1:] if argv is None else argv)[0]).resolve()
    lock = Lock(path, _SECONDS_FOR_LOCK)
    try:
        _write(path / PID, str(os.getpid()))
        began = time.monotonic()
        result, message = _carry_out(path)
        seconds = round(time.monotonic() - began, 3)
        ended = JobResult(status="failed" if message else "done", message=message, result=result, seconds=seconds)
        with written_atomically(path / RESULT) as partial:
            partial.write_text(ended.model_dump_json(), encoding="utf-8")
    finally:
        lock.release()
    return 1 if message else 0


def _carry_out(path: Path) -> tuple[dict[str, Any], str]:
    """Return the job's result, and if it failed the reason, in a sentence."""
    try:
        request = JobRequest.model_validate_json((path / REQUEST).read_bytes())
        request = JobRequest.checked(request.kind, request.target, request.options, request.started)
        _refuse_code(path.parent.parent, request)
        stages = _stage_titles() if request.kind in ("score", "clean") else {}
        with listening(_Reporter(path / PROGRESS, stages)):
            return _WORK[request.kind](path.parent.parent, request.target, request.options), ""
    except InputError as error:
        return {}, str(error)
    except ValidationError as error:
        return {}, validation_message(error)
    except Exception as error:  # noqa: BLE001 (the last resort: one sentence for a person, the traceback in the log)
        if refused := resource_error(error):
            return {}, str(refused)
        traceback.print_exc()
        return {}, f"An unexpected error occurred ({type(error).__name__}: {error}); the log shows where."


def _refuse_code(folder: Path, request: JobRequest) -> None:
    """Refuse to execute a Python file for a page, even if the run that the request is about was made with one.

    Raises:
        InputError: The run's model is from a Python file.
    """
    name = str(request.options["parent"] if request.kind == "clean" else request.target)
    if request.kind in ("survey", "check", "score") or not (folder / name / MANIFEST_FILE).is_file():
        return
    if is_python_file(str(read_manifest(folder / name).config.get("model", ""))):
        raise InputError(
            f"The model of the run {name} is from a Python file, which no page executes: do this only in a terminal "
            f"(samplescope {request.kind})."
        )


class _Reporter:
    """Writes the latest progress, at most a few times a second; that of a new activity at once."""

    def __init__(self, path: Path, stages: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._stages = dict(stages or {})
        self._written = -1.0
        self._activity = ""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report that ``done`` of ``total`` steps of the activity ``what`` are done."""
        activity, moment = what.partition(",")[0], time.monotonic()
        if activity != self._activity or moment - self._written >= _SECONDS_BETWEEN_WRITES:
            self._activity, self._written = activity, moment
            progress = JobProgress(done=done, total=total, what=what, stages=self._stages)
            _write(self._path, progress.model_dump_json())


def _write(path: Path, text: str) -> None:
    """Write a file that readers see whole or not at all, without waiting for the disk: it need not survive a crash."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


# -- The kinds; each loads what it needs -----------------------------------------------------------------------------


def _survey(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write what the data hold as it is found, a few times a second, and return nothing."""
    from attribution_core.datasets.survey import survey

    path, written = folder / FOLDER / f"survey-{target}" / FOUND, -math.inf
    for found in survey(**options):
        report(found.looked, found.total, "looking at the images")
        if (moment := time.monotonic()) - written >= _SECONDS_BETWEEN_WRITES or found.looked == found.total:
            written = moment
            facts = replace(found, unreadable=found.unreadable[:_LISTED])
            _write(path, json.dumps({**asdict(facts), "num_unreadable": len(found.unreadable)}))
    return {}


def _check(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return what the data holds and what scoring it with these options takes, or why these options do not work."""
    from attribution_core.preparation.config import ScoreConfig
    from attribution_core.preparation.prepare import prepare
    from attribution_core.scoring.estimate import estimate_prepared

    began = time.perf_counter()
    prepared = prepare(ScoreConfig.model_validate(options))
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {"found": _facts(prepared), "stages": _stage_titles(), "estimate": None, "problem": ""}
    result["options"] = _options_of_stages()
    try:
        result["estimate"] = asdict(estimate_prepared(prepared, seconds))
    except InputError as error:
        result["problem"] = str(error)
    return result


def _stage_titles() -> dict[str, str]:
    """Return the titles of the stages of a scoring run, by name and in order."""
    from attribution_core.scoring.stages import STAGES

    return {stage.name: stage.title for stage in STAGES}


def _options_of_stages() -> dict[str, str]:
    """Return the option that turns each stage off, by the stage's name, for those that one turns off."""
    from attribution_core.scoring.stages import STAGES, dependents_of

    return {each.name: stage.option for stage in STAGES if stage.option for each in (stage, *dependents_of(stage))}


def _facts(prepared: Prepared) -> dict[str, Any]:
    """Return what a user wants to know about a dataset before it is scored, as plain data."""
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
        "opened": splits.opened,
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


def _responses(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.responses import compare_responses

    compare_responses(folder / target, **options)
    return {"run": target}


def _without(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.group_removal import verify_group

    verify_group(folder / target, **_with_processes(options))
    return {"run": target}


def _contributions(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.contributions import average_contributions

    average_contributions(folder / target, **options)
    return {"run": target}


def _summarize(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.summarize import summarize

    summarize(folder / target, **_with_processes(options))
    return {"run": target}


def _regularization(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.regularization import choose_regularization

    choose_regularization(folder / target, **options)
    return {"run": target}


def _clean(folder: Path, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from attribution_core.workflows.clean import clean

    where = {"data": options["data"], "device": options["device"]}
    run = clean(folder / options["parent"], folder / target, **where)
    return {"run": run.id}


def _with_processes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in one process for each core that this process may use, unless the options give a number."""
    processes = options["processes"]
    return {**options, "processes": usable_cores() if processes is None else processes}


_WORK: dict[Kind, Callable[[Path, str, Mapping[str, Any]], dict[str, Any]]] = {
    "survey": _survey,
    "check": _check,
    "score": _score,
    "verify": _verify,
    "responses": _responses,
    "without": _without,
    "contributions": _contributions,
    "summarize": _summarize,
    "regularization": _regularization,
    "clean": _clean,
}


if __name__ == "__main__":
    sys.exit(main())
