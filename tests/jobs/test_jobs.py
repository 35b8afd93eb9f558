"""Background jobs: started once, found from anywhere, stopped and resumed; and the estimate of a check."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attribution_core.datasets import BUILTIN_DATASETS
from attribution_core.errors import InputError
from attribution_core.jobs import runner
from attribution_core.jobs.jobs import (
    Job,
    cancel_job,
    find_job,
    forget_job,
    job_named,
    jobs_in,
    options_target,
    start_job,
)
from attribution_core.jobs.requests import DATASETS, MODELS, SETTINGS, JobRequest
from attribution_core.models import ARCHITECTURES
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import Run
from attribution_core.scoring import estimate as estimate_module
from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.score import score

# Long enough to be stopped in the middle of its training; the rest is quick.
LONG = {
    "data": "digits",
    "max_train": 300,
    "model": "linear",
    "recipe": {"epochs": 600},
    "contributions": "off",
    "sensitivity": "off",
    "influence": "off",
    "map": "off",
}


def wait(job: Job, condition, seconds: float = 60) -> Job:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        now = job_named(job.folder, job.id)
        if condition(now):
            return now
        time.sleep(0.05)
    pytest.fail(f"{now}\n{now.log_tail()}")


def ended(job: Job) -> bool:
    return job.status != "running"


def trains(job: Job) -> bool:
    return job.progress.what.startswith("training")


def pid_of(job: Job) -> int:
    return int((job.path / "pid").read_text())


def requested(folder: Path, kind: str, options: dict, target: str) -> Path:
    """Make a job's directory as ``start_job`` leaves it for the process."""
    path = folder / ".jobs" / f"{kind}-{target}"
    path.mkdir(parents=True)
    content = JobRequest.model_construct(kind=kind, target=target, options=options, started="2026-01-01T00:00:00+00:00")
    (path / "job.json").write_text(content.model_dump_json())
    return path


# -- one process, wherever it is started from ------------------------------------------------------------------------


def test_starting_a_running_job_returns_it(tmp_path):
    first = start_job(tmp_path, "score", LONG, "run")
    second = start_job(tmp_path, "score", {**LONG, "seed": 1}, "run")
    assert first.status == "running"
    assert (second.started, second.options) == (first.started, first.options)
    assert [job.id for job in jobs_in(tmp_path)] == ["score-run"]
    assert cancel_job(first).status == "cancelled"


def test_two_processes_that_start_at_once_start_one_job(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from attribution_core.jobs.jobs import start_job\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        f"job = start_job(Path(sys.argv[1]), 'score', {LONG!r}, 'run')\n"
        "print(job.status, (job.path / 'pid').read_text(), job.started)"
    )
    at = str(time.time() + 3)
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), at], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [starter.communicate(timeout=60)[0] for starter in starters]
    assert printed[0].startswith("running ")
    assert printed[0] == printed[1]
    cancel_job(find_job(tmp_path, "score", "run"))


def test_a_stopped_run_resumes_and_ends_as_an_uninterrupted_one(tmp_path):
    whole = score(ScoreConfig.model_validate({**LONG, "out": tmp_path / "whole"}))
    job = wait(start_job(tmp_path, "score", LONG, "run"), trains)
    stopped = cancel_job(job)
    assert stopped.status == "cancelled"
    assert "kept" in stopped.message
    assert Run.open(tmp_path / "run").status == "incomplete"
    with pytest.raises(ProcessLookupError):
        os.killpg(pid_of(job), 0)
    done = wait(start_job(tmp_path, "score", LONG, "run"), ended)
    assert (done.status, done.result) == ("done", {"run": "run"}), done.log_tail()
    resumed = Run.open(tmp_path / "run")
    assert resumed.status == "complete"
    for column in ("loss", "fsi"):
        assert resumed.examples[column].to_numpy() == pytest.approx(whole.examples[column].to_numpy(), rel=1e-3)
    _verification_dies_whole(tmp_path)


def _verification_dies_whole(folder: Path) -> None:
    """Check that the worker processes of a verification end with it."""
    options = {"examples": 3, "halves": 4, "seeds": 2, "processes": 2}
    job = wait(start_job(folder, "verify", options, "run"), lambda job: ended(job) or len(_group(pid_of(job))) > 2)
    assert job.status == "running", job.message
    assert cancel_job(job).status == "cancelled"
    until = time.monotonic() + 10
    while _group(pid_of(job)) and time.monotonic() < until:
        time.sleep(0.05)
    assert _group(pid_of(job)) == []


def _group(leader: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == leader and state != "Z":
                found.append(int(entry.name))
    return found


def test_a_killed_job_is_lost_and_can_be_started_again(tmp_path):
    job = start_job(tmp_path, "score", LONG, "run")
    killed = pid_of(job)
    os.kill(killed, signal.SIGKILL)
    lost = wait(job, ended)
    assert lost.status == "lost"
    assert "ended without a result" in lost.message
    again = start_job(tmp_path, "score", LONG, "run")
    assert again.status == "running"
    assert pid_of(again) != killed
    cancel_job(again)
    forget_job(again)
    assert jobs_in(tmp_path) == []


def test_a_running_job_is_not_forgotten(tmp_path):
    job = start_job(tmp_path, "score", LONG, "run")
    forget_job(job)
    assert cancel_job(job).status == "cancelled"


# -- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("score", {"data": "/nowhere"}, "There is no file or folder at /nowhere"),
        ("score", {"data": "digits", "recipe": {"epochs": -1}}, "recipe.epochs: Input should be greater"),
        ("score", {"data": "digits", "colour": "red"}, "colour: Extra inputs are not permitted"),
        ("verify", {}, "is not a run"),
        ("verify", {"examples": 1}, "examples: Input should be greater"),
        ("clean", {"parent": "gone"}, "is not a run"),
        ("score", {"data": "digits", "model": "/tmp/net.py:build"}, "is scored only in a terminal"),
    ],
)
def test_a_failure_is_one_sentence(tmp_path, kind, options, sentence, capfd):
    path = requested(tmp_path, kind, options, "run")
    assert runner.main([str(path)]) == 1
    job = job_named(tmp_path, path.name)
    assert job.status == "failed"
    assert sentence in job.message
    assert "\n" not in job.message
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("kind", ["verify", "responses", "without", "contributions", "summarize", "clean"])
def test_a_page_executes_no_python_file(tmp_path, kind):
    """Even if the run names one."""
    (tmp_path / "net.py").write_text("open('ran', 'w')")
    (tmp_path / "run").mkdir()
    about = {"schema_version": 1, "title": "t", "created": "2026-01-01", "fingerprint": "f"}
    config = {"data": "digits", "model": f"{tmp_path / 'net.py'}:build"}
    (tmp_path / "run" / "run.json").write_text(json.dumps({**about, "config": config}))
    options, target = ({"parent": "run"}, "after") if kind == "clean" else ({}, "run")
    options |= {"rows": [0]} if kind == "without" else {}
    path = requested(tmp_path, kind, options, target)
    assert runner.main([str(path)]) == 1
    assert "only in a terminal" in job_named(tmp_path, path.name).message
    assert not Path("ran").exists()


def test_an_unexpected_error_leaves_its_traceback_in_the_log(tmp_path, monkeypatch, capfd):
    def broken(*_: object) -> None:
        raise TypeError("no such thing")

    monkeypatch.setitem(runner._WORK, "score", broken)
    path = requested(tmp_path, "score", LONG, "run")
    assert runner.main([str(path)]) == 1
    assert "An unexpected error occurred (TypeError: no such thing)" in job_named(tmp_path, path.name).message
    assert "Traceback" in capfd.readouterr().err


def test_progress_is_written_a_few_times_a_second_and_each_activity_at_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(runner, "_write", lambda _path, text: written.append(text))
    report = runner._Reporter(tmp_path / "progress.json")
    for step in range(10_000):
        report(step, 10_000, f"training, epoch {step}")
    report(0, 1, "decomposing")
    assert len(written) <= 4
    assert '"decomposing"' in written[-1]


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "target"),
    [
        ("shell", {"data": "digits"}, "run"),
        ("score", {}, "run"),
        ("score", {"data": ""}, "run"),
        ("score", {"data": "digits", "out": "/tmp/elsewhere"}, "run"),
        ("score", {"data": object()}, "run"),
        ("verify", {"examples": 2}, "run"),
        ("verify", {"command": "true"}, "run"),
        ("summarize", {"step": 2}, "run"),
        ("without", {}, "run"),
        ("without", {"rows": [-1]}, "run"),
        ("contributions", {"seeds": 1}, "run"),
        ("clean", {"parent": "../run"}, "run"),
        *(("score", LONG, name) for name in ("", ".", "..", ".run", "a/b", "../run", "/run", "a\\b", "a\0", "a" * 200)),
    ],
)
def test_bad_options_and_names_are_refused_before_anything_starts(tmp_path, kind, options, target):
    with pytest.raises(InputError):
        start_job(tmp_path, kind, options, target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "score", "score-", "score-..", "score-../../etc", "../score-run", "shell-run", "\0"]
)
def test_hostile_ids_name_no_job(tmp_path, name):
    requested(tmp_path, "score", LONG, "run")
    assert job_named(tmp_path, name) is None


def test_a_directory_with_another_request_is_no_job(tmp_path):
    path = requested(tmp_path, "score", LONG, "run")
    path.rename(path.with_name("score-other"))
    damaged = requested(tmp_path, "score", LONG, "damaged") / "job.json"
    damaged.write_text("{")
    (tmp_path / ".jobs" / "score-link").symlink_to(path.with_name("score-other"))
    assert jobs_in(tmp_path) == []
    assert jobs_in(tmp_path / "nowhere") == []


def test_a_file_with_the_id_of_another_process_stops_nothing(tmp_path):
    path = requested(tmp_path, "score", LONG, "run")
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    (path / "pid").write_text(str(other.pid))
    assert cancel_job(job_named(tmp_path, path.name)).status == "lost"
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("kind", ["check", "survey"])
def test_old_checks_are_forgotten(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("attribution_core.jobs.jobs._start_process", lambda _: None)
    for number in range(30):
        options = {"data": f"digits-{number}"}
        job = start_job(tmp_path, kind, options, options_target(options))
        (job.path / "pid").write_text("0")
    assert len(jobs_in(tmp_path)) <= 22
    assert find_job(tmp_path, kind, options_target(options)) is not None


# -- what pages know without torch ----------------------------------------------------------------------------------


def test_pages_do_not_load_torch():
    code = "import sys, attribution_core.jobs.jobs, samplescope_app.panels.jobs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_choices_are_those_of_the_core():
    classifiers = {name: model.description for name, model in ARCHITECTURES.items() if model.classifies}
    assert {name: text for name, text in MODELS.items() if name != "auto"} == classifiers
    assert {known.name: known.description for known in BUILTIN_DATASETS} == DATASETS


# -- checks and estimates -------------------------------------------------------------------------------------------


def test_a_check_reports_the_data_and_the_cost_of_a_run(tmp_path):
    options = {"data": "digits", "model": "linear", "recipe": {"epochs": 1}, "influence": "off"}
    path = requested(tmp_path, "check", options, options_target(options))
    assert runner.main([str(path)]) == 0
    result = job_named(tmp_path, path.name).result
    found = result["found"]
    assert [sum(found["counts"][split]) for split in ("train", "validation", "test")] == [1257, 270, 270]
    assert found["class_names"] == [str(digit) for digit in range(10)]
    assert (found["colour"], found["heights"], found["input_shape"], found["model"]) == (
        False,
        [8, 8],
        [1, 8, 8],
        "linear",
    )
    assert found["num_unreadable"] == 0
    assert "influence" in result["estimate"]["skipped"]
    assert "influence" not in result["estimate"]["seconds"]
    assert all(seconds > 0 for seconds in result["estimate"]["seconds"].values())
    assert result["estimate"]["refusal"] == ""


def test_a_survey_leaves_what_it_found(tmp_path):
    path = requested(tmp_path, "survey", {"data": "digits"}, "survey")
    assert job_named(tmp_path, path.name).found() == {}
    assert runner.main([str(path)]) == 0
    job = job_named(tmp_path, path.name)
    found = job.found()
    assert job.status == "done"
    assert (found["looked"], found["total"], found["num_unreadable"]) == (1797, 1797, 0)
    assert (found["heights"], found["colored"], sum(found["counts"]["train"])) == ([8, 8], 0, 1797)


def test_a_check_names_the_option_that_turns_a_stage_off(tmp_path):
    options = {"data": "digits", "model": "linear", "recipe": {"epochs": 1}, "influence": "off"}
    path = requested(tmp_path, "check", options, options_target(options))
    assert runner.main([str(path)]) == 0
    named = job_named(tmp_path, path.name).result["options"]
    assert set(named.values()) <= {setting.name for setting in SETTINGS if "off" in setting.choices}
    assert named["influence"] == "influence"


def test_a_check_reports_that_a_run_does_not_fit_and_what_would(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "free_bytes", lambda _device: 1_000_000)
    path = requested(tmp_path, "check", {"data": "digits", "model": "linear", "recipe": {"epochs": 1}}, "check")
    assert runner.main([str(path)]) == 0
    assert "free on this machine: use smaller images" in job_named(tmp_path, path.name).result["estimate"]["refusal"]


def test_a_check_reports_a_model_that_does_not_fit(tmp_path):
    path = requested(tmp_path, "check", {"data": "digits", "model": "cnn4"}, "check")
    assert runner.main([str(path)]) == 0
    result = job_named(tmp_path, path.name).result
    assert result["found"]["name"] == "digits"
    assert "cnn4 takes images" in result["problem"]
    assert result["estimate"] is None


def test_the_estimate_is_of_the_right_size(tmp_path):
    """Within a factor of three in total, since other processes may use the machine at either time."""
    options = {"hidden": (128,), "recipe": {"epochs": 10}, "influence": "off", "map": "off"}
    config = ScoreConfig.model_validate({"data": "digits", "out": tmp_path / "run", **options})
    estimated = estimate(config)
    real = {name: stage.seconds for name, stage in score(config).manifest.stages.items()}
    assert set(estimated.seconds) <= set(real)
    assert 1 / 3 < estimated.total / sum(real.values()) < 3
    assert 2**27 < estimated.memory < 2**33
