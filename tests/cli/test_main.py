import io
import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attribution_core import open_dataset
from attribution_core.cli import main as cli
from attribution_core.models import ARCHITECTURES
from attribution_core.runs import Run
from tests.support.sample_run import make_run

QUICK = ["--epochs", "2", "--hidden", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images in three class folders with names from real life."""
    root = tmp_path_factory.mktemp("data") / "my pictures"
    generator = np.random.default_rng(0)
    for label, name in enumerate(("été", "cats & dogs", "=SUM(A1)")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 80, (16, 16, 3)) + 80 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"+{i}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert cli.main(["score", str(folder), "--model", "mlp", "--out", str(out), *QUICK]) == 0
    return Run.open(out)


def test_skipped_measures_are_reported(tmp_path, capsys):
    arguments = ["score", "digits", "--out", str(tmp_path / "run"), "--influence", "off", "--damping", "0.1"]
    assert cli.main([*arguments, "--max-train", "200", *QUICK]) == 0
    assert "Without influence functions: turned off (influence=off)" in capsys.readouterr().out
    assert Run.open(tmp_path / "run").manifest.config["damping"] == 0.1


def test_effects_that_no_removal_can_have_are_counted_after_scoring(tmp_path, capsys, monkeypatch):
    run = Run.open(make_run(tmp_path / "run", n=40))
    beyond = run.credible_effects("hydra").excludes(run.effects("hydra")[:])
    assert beyond.mean() > 0.01
    monkeypatch.setattr("attribution_core.scoring.score.score", lambda *_, **__: run)
    assert cli.main(["score", "digits"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "than removing one example can cause" in line]
    assert said == [
        f"{run.measure('hydra').title}: {beyond.mean():.1%} of the effects are larger than removing one example can "
        "cause; the app marks them. Use their ranking, not their size."
    ]  # the other methods have none


def test_score_works_on_a_folder_of_class_folders(run, folder):
    assert run.status == "complete"
    assert run.class_names == ["=SUM(A1)", "cats & dogs", "été"]
    assert len(run.examples) + len(run.evaluation) == 60
    assert run.examples["fsi"].gt(0).all()


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_export_writes_a_set_that_opens_again(run, tmp_path, form, capsys):
    first, second = run.examples["id"][:2]
    run.decisions.record([first], "drop")
    run.decisions.record([second], "relabel", 2)
    path = tmp_path / {"parquet": "clean.parquet", "folder": "clean.zip"}[form]
    assert cli.main(["export", str(run.path), "--format", form, "--out", str(path)]) == 0
    assert f"Kept {len(run.examples) - 1} training examples (1 relabeled), dropped 1" in capsys.readouterr().out
    if form == "folder":
        zipfile.ZipFile(path).extractall(tmp_path / "clean")
        path = tmp_path / "clean"
    again = open_dataset(path)
    assert len(again.train) == len(run.examples) - 1
    assert len(again.validation) + len(again.test) == len(run.evaluation)


def test_export_writes_a_list_that_is_safe_in_a_spreadsheet(run, tmp_path):
    path = tmp_path / "clean.csv"
    assert cli.main(["export", str(run.path), "--format", "csv", "--out", str(path)]) == 0
    rows = pd.read_csv(path)
    assert len(rows) == len(run.examples) + len(run.evaluation)
    texts = [cell for column in ("id", "original_label", "label_name") if column in rows for cell in rows[column]]
    assert any(text.startswith("'") for text in texts)
    assert not any(text.startswith(("=", "+", "-", "@")) for text in texts)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "/nowhere/at/all"], "There is no file or folder"),
        (["score", "digits", "--model", "resnet"], "There is no model 'resnet'"),
        (["score", "digits", "--model", "autoencoder"], "autoencoder does not predict classes or values"),
        (["score", "digits", "--epochs", "-1"], "epochs"),
        (["score", "digits", "--learning-rate", "-0.1"], "learning_rate"),
        (["score", "digits", "--damping", "0"], "damping"),
        (["score", "digits", "--influence", "maybe"], "influence"),
        (["score"], "Missing argument"),
        (["score", "digits", "--nonsense"], "No such option"),
        (["export", "/nowhere", "--format", "csv", "--out", "/tmp/x.csv"], "is not a run"),
        (["export", "/nowhere", "--format", "xml", "--out", "/tmp/x.csv"], "xml"),
        (["open", "/nowhere", "--no-browser"], "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(arguments, sentence, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    printed = capfd.readouterr().err
    assert sentence in printed.replace("\n", " ")
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []  # no half-made run


def test_a_traceback_comes_with_debug_only(capsys, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(cli, "Run", type("Broken", (), {"open": broken}))
    arguments = ["export", "run", "--format", "csv", "--out", "x.csv"]
    assert cli.main(arguments) == 1
    assert "a fault of ours" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", *arguments])


def test_an_interruption_says_how_to_resume(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_score", interrupted)
    assert cli.main(["score", "digits"]) == 130
    assert "Give the same command again to resume" in capsys.readouterr().err


def test_the_demo_is_served_as_soon_as_it_has_scores(monkeypatch, tmp_path):
    happened = []

    class Server(io.StringIO):
        def __init__(self, command, **_):
            super().__init__()
            happened.append(f"loads {command[-2:]}")
            self.stdin = self

        def write(self, text):
            happened.append("served") if text == "\n" else None

        def wait(self):
            happened.append("stopped")
            return 0

    def scoring(config, on_scores=None):
        happened.append("first scores")
        if on_scores:
            on_scores()
        happened.append("all scores")

    monkeypatch.setattr(cli, "_score", scoring)
    monkeypatch.setattr(cli.os, "nice", lambda by: happened.append(f"nicer by {by}"), raising=False)
    monkeypatch.setattr(cli.subprocess, "Popen", Server)
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--no-browser"]) == 0
    assert happened == [
        "loads ['--no-browser', '--wait']",
        "first scores",
        "served",
        "nicer by 10",
        "all scores",
        "stopped",
    ]
    happened.clear()
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--no-open"]) == 0
    assert happened == ["first scores", "all scores"]


def test_the_reviewers_name_is_given_to_the_app_only_if_asked_for(monkeypatch, tmp_path):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(cli.subprocess, "run", run)
    monkeypatch.setenv("USER", "login")
    assert cli.main(["open", str(tmp_path), "--no-browser"]) == 0
    assert cli.main(["open", str(tmp_path), "--reviewer", "Ann"]) == 0
    assert "login" not in commands[0]
    assert "--reviewer" not in commands[0]
    assert commands[1][-2:] == ["--reviewer", "Ann"]


def test_methods_and_datasets_are_listed(capsys):
    assert cli.main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert "Functional sample information (F-SI) (nats)" in printed
    assert "Harutyunyan" in printed
    assert cli.main(["datasets"]) == 0
    assert "fashion-demo" in capsys.readouterr().out


def test_every_classifier_is_offered(capsys):
    assert cli.main(["score", "--help"]) == 0
    printed = re.sub(r"[^\w,]+", " ", capsys.readouterr().out)  # without the frame
    assert ", ".join(name for name, each in ARCHITECTURES.items() if each.classifies) + " FILE py" in printed
    assert "or auto for color images the head of a network" in printed


def test_the_command_is_installed():
    printed = subprocess.run(
        [sys.executable, "-m", "attribution_core.cli.main", "--help"], capture_output=True, text=True
    )
    assert printed.returncode == 0
    for command in ("demo", "score", "open", "export", "methods", "datasets"):
        assert command in printed.stdout


def test_provenance_is_written_beside_an_export(run, tmp_path):
    cli.main(["export", str(run.path), "--format", "csv", "--out", str(tmp_path / "clean.csv")])
    beside = [path for path in tmp_path.iterdir() if path.suffix == ".json"]
    assert len(beside) == 1
    assert json.loads(beside[0].read_text())
