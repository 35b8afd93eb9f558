"""A run survives interruptions and refuses what it cannot read."""

import io
import json
import random
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attribution_core.errors import InputError
from attribution_core.progress import listening, report
from attribution_core.runs import Run, RunWriter, fingerprint, list_runs
from attribution_core.runs.files import Lock, written_atomically
from attribution_core.runs.store import read_manifest
from tests.support.processes import kill_at
from tests.support.sample_run import make_run

CONFIG = {"data": "digits", "seed": 1}


@pytest.fixture
def writer(tmp_path):
    with RunWriter.start(tmp_path / "run", CONFIG, fingerprint(CONFIG), "a run") as writer:
        yield writer


def small_table(n: int = 3) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"é={i}" for i in range(n)], "label": np.arange(n), "loss": np.linspace(0, 1, n)})


def test_a_run_reads_what_was_written(tmp_path):
    run = Run.open(make_run(tmp_path / "digits", n=60))
    assert run.id == "digits"
    assert run.status == "complete"
    measures = ["fsi", "contribution", "sensitivity", "error", "variance", "nearest_similarity", "summary_rank"]
    assert run.scores == [*measures, "loss", "margin", "confidence"]
    assert run.groups == ["original_label"]
    assert len(run.examples) == 60
    assert len(run.class_effects) == 300
    assert run.effect_methods == ["ntk", "hydra", "influence"]
    assert run.evolutions == ["fsi", "contribution", "sensitivity"]
    assert run.has_map
    assert run.embeddings("evaluation").shape == (30, 16)
    pairs = run.class_pairs
    ntk_pairs = pairs[pairs["method"] == "ntk"]
    assert np.allclose(run.effects("ntk")[:][ntk_pairs["train_row"], ntk_pairs["evaluation_row"]], ntk_pairs["effect"])
    assert len(run.influential(count=7)) == 7
    assert run.evaluation["split"].value_counts().to_dict() == {"validation": 15, "test": 15}
    data, media_type = run.thumbnail("train", 59)
    assert media_type == "image/png"
    assert data.startswith(b"\x89PNG")
    with pytest.raises(IndexError):
        run.thumbnail("train", 60)


def test_a_reader_who_tests_the_lock_stops_no_writer(tmp_path):
    (tmp_path / "run").mkdir()
    reader = Lock(tmp_path / "run")
    threading.Timer(0.2, reader.release).start()
    RunWriter.start(tmp_path / "run", CONFIG, fingerprint(CONFIG), "a run").close()


def test_a_stage_is_done_only_with_its_fingerprint(writer):
    assert not writer.is_done("data", "a")
    with writer.stage("data", "a"):
        assert writer.manifest.stages["data"].status == "running"
    assert writer.is_done("data", "a")
    assert not writer.is_done("data", "b")
    assert writer.manifest.stages["data"].seconds >= 0


def test_what_is_planned_is_awaited_until_it_is_done(writer):
    with writer.stage("data"):
        pass
    writer.plan({"data": "dataset", "fsi": "F-SI", "map": "map"})
    assert [(name, stage.title) for name, stage in writer.manifest.stages.items()] == [
        ("data", "dataset"), ("fsi", "F-SI"), ("map", "map"),
    ]  # fmt: skip
    assert Run.open(writer.path).awaited == ["F-SI", "map"]
    with writer.stage("fsi"):
        assert Run.open(writer.path).awaited == ["F-SI", "map"]
    assert Run.open(writer.path).awaited == ["map"]
    writer.close()
    assert Run.open(writer.path).awaited == []  # no process scores it
    assert Run.open(writer.path).status == "incomplete"


def test_a_failed_stage_says_why(writer):
    with pytest.raises(ZeroDivisionError), writer.stage("data"):
        1 / 0  # noqa: B018
    stage = Run.open(writer.path).manifest.stages["data"]
    assert (stage.status, stage.message) == ("failed", "division by zero")


def test_a_run_resumes_only_with_the_same_configuration(tmp_path, writer):
    with writer.stage("data"):
        pass
    writer.close()
    with RunWriter.start(writer.path, CONFIG, fingerprint(CONFIG), "a run") as again:
        assert again.is_done("data")
    other = {**CONFIG, "seed": 2}
    with pytest.raises(InputError, match="seed is 1 there and 2 here") as error:
        RunWriter.start(writer.path, other, fingerprint(other), "a run")
    assert fingerprint(CONFIG)[:12] in str(error.value)
    assert fingerprint(other)[:12] in str(error.value)


def test_a_second_writer_is_refused_while_the_first_is_open(writer):
    assert Run.open(writer.path).status == "running"
    with pytest.raises(InputError, match="Another process is writing"):
        RunWriter.start(writer.path, CONFIG, fingerprint(CONFIG), "a run")


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and is not a run"):
        RunWriter.start(tmp_path, CONFIG, fingerprint(CONFIG), "a run")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_damaged_and_newer_runs_are_refused_in_one_sentence(tmp_path, writer):
    file = writer.path / "run.json"
    whole = json.loads(file.read_text())
    for text, message in (
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps({**whole, "surprise": 1}), "surprise"),
        (json.dumps({**whole, "schema_version": 99}), "newer SampleScope"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message) as error:
            Run.open(writer.path)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="is not a run"):
        Run.open(tmp_path)


def test_a_run_of_an_earlier_version_says_what_it_skipped(writer):
    file = writer.path / "run.json"
    whole = json.loads(file.read_text())
    imported = {"left_out": {"measure": "a score by this name"}}
    details = {"map": {"left_out": "the map was turned off"}, "fsi": {"route": "exact"}, "imported": imported}
    file.write_text(json.dumps({**whole, "details": details}))
    assert read_manifest(writer.path).details == {**details, "map": {"skipped": "the map was turned off"}}


def test_the_list_shows_damaged_runs_with_the_reason(tmp_path):
    make_run(tmp_path / "good", n=20)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    (tmp_path / "no run at all").mkdir()
    entries = {entry.id: entry for entry in list_runs(tmp_path)}
    assert set(entries) == {"good", "bad"}
    assert entries["good"].run is not None
    assert "damaged" in entries["bad"].problem


def test_a_linked_run_has_the_name_of_its_link(tmp_path):
    make_run(tmp_path / "elsewhere" / "digits", n=20)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere" / "digits")
    (entry,) = list_runs(tmp_path / "runs")
    assert entry.run.id == entry.id == "linked"


def test_an_unfinished_run_opens_with_what_it_has(writer):
    run = Run.open(writer.path)
    assert not run.has_examples
    with pytest.raises(InputError, match=r"has no examples\.parquet yet"):
        _ = run.examples


def test_truncated_files_are_refused(tmp_path):
    path = make_run(tmp_path / "digits", n=20)
    for name, use in (
        ("examples.parquet", lambda run: run.examples),
        ("thumbnails/train.bin", lambda run: run.thumbnail("train", 0)),
        ("thumbnails/train.npy", lambda run: run.thumbnail("train", 0)),
    ):
        file = path / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="score the data again"):
            use(Run.open(path))
        file.write_bytes(whole)


def test_a_column_needs_a_value_for_each_row(writer):
    writer.write_table("examples", small_table())
    writer.add_column("examples", "fsi", np.array([1.0, 2.0, np.nan]))
    writer.add_column("examples", "fsi", np.array([1.0, 2.0, 3.0]))
    assert Run.open(writer.path).examples["fsi"].tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="3 rows, but margin has 2 values"):
        writer.add_column("examples", "margin", np.zeros(2))


def test_infinite_metrics_survive_json(writer):
    writer.update(metrics={"a": float("inf"), "b": float("nan")})
    metrics = Run.open(writer.path).manifest.metrics
    assert metrics["a"] == float("inf")
    assert np.isnan(metrics["b"])


@pytest.mark.parametrize(
    ("mode", "size", "media_type"),
    [("L", (28, 28), "image/png"), ("RGBA", (64, 64), "image/png"), ("RGB", (500, 250), "image/webp")],
)
def test_thumbnails_are_small_and_keep_tiny_images_exact(writer, mode, size, media_type):
    image = Image.effect_noise(size, 80).convert(mode)
    writer.write_table("examples", small_table(1))
    seen = []
    with listening(lambda *args: seen.append(args)):
        writer.write_thumbnails("train", [image])
    data, found = Run.open(writer.path).thumbnail("train", 0)
    assert found == media_type
    path = writer.path / "image"
    path.write_bytes(data)
    thumbnail = Image.open(path)
    assert max(thumbnail.size) == min(128, max(size))
    if media_type == "image/png":
        assert thumbnail.tobytes() == image.tobytes()
    assert seen[-1] == (1, 1, "thumbnails (train)")


def test_thumbnails_of_a_run_that_was_deleted_while_open_are_refused(writer):
    writer.write_table("examples", small_table(1))
    writer.write_thumbnails("train", [Image.new("L", (28, 28))])
    run = Run.open(writer.path)
    run.thumbnail("train", 0)  # as a page does
    shutil.rmtree(writer.path / "thumbnails")
    with pytest.raises(InputError, match="cannot be read"):
        run.thumbnail("train", 0)


def test_a_file_is_complete_or_absent(tmp_path):
    file = tmp_path / "a" / "file"
    with pytest.raises(ZeroDivisionError), written_atomically(file) as partial:
        partial.write_text(str(1 / 0))
    assert list(file.parent.iterdir()) == []
    with written_atomically(file) as partial:
        partial.write_text("complete")
    assert file.read_text() == "complete"


def _write_forever(path):
    table = pd.DataFrame({"id": [str(i) for i in range(20000)], "loss": np.zeros(20000)})
    with RunWriter.start(path, {"a": 1}, "f", "killed") as writer:
        report(0, 1, "started")
        for stage in range(10**6):
            if writer.is_done(str(stage)):
                continue
            with writer.stage(str(stage)):
                writer.write_table("examples", table.assign(stage=stage))
                images = [Image.new("L", (8, 8), stage % 255)] * (len(table) // 100)
                writer.write_thumbnails("train", images)
                with writer.path_for("model/weights.bin") as file:
                    file.write_bytes(bytes([stage % 256]) * 100_000)


def test_a_killed_run_is_intact_and_resumes(tmp_path):
    """After ten kills at random moments, every file is complete, the lock is free and finished stages stay done.

    On a busy machine ten kills may all come before the first stage is finished; more follow until one does not.
    """
    path = tmp_path / "run"
    moments = random.Random(0)
    done_before = -1
    kills = 0
    while kills < 10 or (done_before < 0 and kills < 50):
        kills += 1
        kill_at("started", _write_forever, path, delay=moments.uniform(0, 0.3))
        run = Run.open(path)
        done = max((int(name) for name, stage in run.manifest.stages.items() if stage.status == "done"), default=-1)
        assert done >= done_before
        done_before = done
        if run.has_examples:
            assert run.examples["stage"].iloc[0] in (done, done + 1)
        if (path / "model" / "weights.bin").exists():
            assert len((path / "model" / "weights.bin").read_bytes()) == 100_000
    assert done_before >= 0
    with RunWriter.start(path, {"a": 1}, "f", "killed"):
        assert list(path.rglob("*.partial")) == []


def test_thumbnails_that_threads_make_keep_their_order(writer):
    """A thread may be slower than the next; a failure in one ends the writing."""
    images = [Image.new("L", (9, 9), row % 256) for row in range(1000)]

    class Slow(list):
        def __getitem__(self, row):
            time.sleep(0.02 * (row % 64 == 0))
            return super().__getitem__(row)

    writer.write_thumbnails("train", Slow(images))
    run = Run.open(writer.path)
    for row in (0, 31, 32, 511, 999):
        assert Image.open(io.BytesIO(run.thumbnail("train", row)[0])).getpixel((0, 0)) == row % 256
    with pytest.raises(AttributeError):
        writer.write_thumbnails("train", [*images[:70], None])
    assert len(run.thumbnail("train", 999)[0]) > 0
