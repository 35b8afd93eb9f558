"""Limits of the machine (a full disk, missing permissions), and unusual names that must survive."""

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution_core.cli.main import main
from attribution_core.datasets import open_dataset
from attribution_core.runs import Run
from tests.hostile.case import as_one_line, score
from tests.support.builders import write_folder

_NOBODY = 65534


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Simulate a full disk: no file may exceed ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Drop root's rights for a while, because root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared(monkeypatch) -> Iterator[Path]:
    """Create a folder that everyone may enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="samplescope-test-"))
    folder.chmod(0o777)
    monkeypatch.chdir(folder)
    yield folder
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.parametrize("size", [3_000, 20_000, 200_000])
def test_a_full_disk_is_reported_and_the_run_resumes_when_there_is_room(tmp_path, capfd, size):
    run = tmp_path / "run"
    arguments = score("digits", "--max-train", "200", "--out", str(run))
    with largest_file(size):
        code = main(arguments)
    said = as_one_line(capfd.readouterr().err)
    assert code == 2, said
    assert "no room" in said, said
    assert "Traceback" not in said
    assert not list(run.rglob("*.partial")), "half-written files stay"
    assert main(arguments) == 0
    assert np.isfinite(Run.open(run).examples["fsi"]).all()


@pytest.mark.parametrize("lost", [".", "**/*.png"], ids=["a dataset", "its images"])
def test_images_without_permission(shared, capfd, lost):
    data = write_folder(shared / "d", {"cat": 4, "dog": 4})
    for path in [data] if lost == "." else data.glob(lost):
        path.chmod(0)
    with as_nobody():
        code = main(score(data))
    said = as_one_line(capfd.readouterr().err)
    assert code == 2
    assert "Permission denied" in said
    assert not (shared / "runs").exists()


def test_a_table_without_permission(shared, capfd):
    pd.DataFrame({"a": [i * i % 7 for i in range(20)], "label": ["x", "y"] * 10}).to_csv("d.csv", index=False)
    open_dataset("d.csv")  # the user nobody may not import modules for the first time
    (shared / "d.csv").chmod(0)
    with as_nobody():
        code = main(score("d.csv"))
    said = as_one_line(capfd.readouterr().err)
    assert code == 2, said
    assert "Permission denied" in said
    assert not (shared / "runs").exists()


def test_a_place_for_runs_without_permission(shared, capfd):
    (shared / "mine").mkdir(mode=0o500)
    with as_nobody():
        code = main(score("digits", "--max-train", "100", "--out", str(shared / "mine" / "run")))
    said = as_one_line(capfd.readouterr().err)
    assert code == 2
    assert "Permission denied" in said
    assert list((shared / "mine").iterdir()) == []


NAMES = {
    "unicode": ("猫", "собака"),
    "right to left": ("חתול", "كلب"),
    "combining marks": ("e\u0301tude", "n\u0303andu"),
    "emoji": ("🐈‍⬛", "🐕‍🦺"),
    "long": ("c" * 250, "d" * 250),
    "markup": ("<script>alert(1)", "[bold](javascript:x)"),
    "spreadsheet formulas": ("=1+1", "@SUM(A1)"),
    "control characters": ("cat\tcat", "dog\ndog"),
    "spaces and dots": (" cat ", "dog..dog"),
    "shell": ("$(true);`true`", "-rf"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_survive_in_the_run_and_the_export(tmp_path, capfd, names):
    data, run = write_folder(tmp_path / "d", dict.fromkeys(names, 8)), tmp_path / "run"
    assert main(score(data, "--out", str(run))) == 0, capfd.readouterr().err
    assert len(Run.open(run).class_names) == 2
    out = tmp_path / "clean.parquet"
    assert main(["export", str(run), "--format", "parquet", "--out", str(out)]) == 0, capfd.readouterr().err
    assert len(pd.read_parquet(out)) == 16


def test_many_classes_of_two_images(tmp_path, capfd):
    """Open all 1,000 but score 100, because the cost of a linear head grows with the square of its classes."""
    data = write_folder(tmp_path / "d", {f"class{number:04d}": 2 for number in range(1000)})
    splits = open_dataset(data)
    assert len(splits.train.class_names) == len(np.unique(splits.train.labels)) == 1000
    few = write_folder(tmp_path / "few", {f"class{number:04d}": 2 for number in range(100)})
    assert main(score(few, "--out", str(tmp_path / "run"))) == 0, as_one_line(capfd.readouterr().err)
    run = Run.open(tmp_path / "run")
    assert len(run.class_names) == 100
    assert np.isfinite(run.examples["fsi"]).all()
