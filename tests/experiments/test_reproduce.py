"""Test the list of experiments, and the command that runs one of them."""

import argparse
import importlib
from pathlib import Path

import pytest

from attribution_core.cli import main as cli
from attribution_core.experiments import registry
from attribution_core.experiments.registry import EXPERIMENTS, experiment_named, run_experiment


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(cli.out, "_width", 250)


def test_every_entry_has_a_main_that_takes_its_arguments():
    assert len({each.name for each in EXPERIMENTS}) == len(EXPERIMENTS)
    for each in EXPERIMENTS:
        module = importlib.import_module(f"attribution_core.experiments.{each.module}")
        with pytest.raises(SystemExit) as stop:
            module.main([*each.arguments, "--help"])
        assert stop.value.code == 0, each.name


def test_every_experiment_is_in_the_list():
    folder = Path(registry.__file__).parent
    commands = {
        f"{path.parent.name}.{path.stem}" for path in folder.glob("*/*.py") if "\ndef main(" in path.read_text()
    }
    assert {each.module for each in EXPERIMENTS} == commands


def test_the_list_marks_the_experiments_that_require_data(monkeypatch):
    class StoppedError(Exception):
        """Raised in place of running the experiment."""

    required = {}

    def seen(parser, arguments=None, namespace=None):
        required[current] = any(a.required and "--data-root" in a.option_strings for a in parser._actions)
        raise StoppedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", seen)
    for each in EXPERIMENTS:
        current = each.name
        with pytest.raises(StoppedError):
            importlib.import_module(f"attribution_core.experiments.{each.module}").main([])
    assert required == {each.name: each.needs_data_root for each in EXPERIMENTS}


def test_the_list_shows_name_source_and_state(wide, capsys):
    assert cli.main(["reproduce", "--list"]) == 0
    shown = capsys.readouterr().out
    for each in EXPERIMENTS:
        assert each.name in shown
        assert each.source in shown
    assert "holds" in shown


def test_options_are_passed_to_the_experiment(tmp_path, capsys):
    options = "--draws", "3", "--runs", "4", "--seeds", "1", "--out", str(tmp_path)
    assert cli.main(["reproduce", "toy_unique_information", *options]) == 0
    assert "divergence" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"toy_unique_information.json", "toy_unique_information.png"}


def test_every_experiment_takes_a_folder_for_its_results(capsys):
    for each in EXPERIMENTS:
        assert run_experiment(each.name, ["--help"]) == 0
        assert "--out OUT" in capsys.readouterr().out, each.name


def test_data_root_and_out_reach_the_experiment(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(
        registry.importlib, "import_module", lambda _: argparse.Namespace(main=lambda a: given.append(a) or 0)
    )
    assert cli.main(["reproduce", "memory_removal_classes", "--data-root", "D", "--removed", "5", "--out", "O"]) == 0
    assert given == [["classes", "--data-root", "D", "--out", "O", "--removed", "5"]]


def test_an_unknown_name_suggests_similar_ones(capsys):
    assert cli.main(["reproduce", "memory_removals"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "no experiment 'memory_removals'" in printed
    assert "memory_removal_classes" in printed
    assert cli.main(["reproduce", "zzzzzz"]) == 2
    assert experiment_named("hydra_agreement_epochs").arguments == ("epochs",)


def test_what_is_missing_is_reported_in_a_sentence(capsys):
    assert cli.main(["reproduce", "information_of_sources"]) == 2
    assert "--data-root" in capsys.readouterr().err
    assert cli.main(["reproduce"]) == 2
    assert "reproduce --list" in capsys.readouterr().err


def test_wrong_options_of_the_experiment_end_with_2(capsys):
    assert cli.main(["reproduce", "toy_unique_information", "--draw-nothing"]) == 2
    assert "unrecognized arguments: --draw-nothing" in capsys.readouterr().err
    assert run_experiment("toy_unique_information", ["--draws", "many"]) == 2


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_that_of_the_experiment_if_one_is_named(capsys, option):
    assert cli.main(["reproduce", "memory_removal_classes", option]) == 0
    assert "--epochs-on" in capsys.readouterr().out
    assert cli.main(["reproduce", option]) == 0
    assert "--data-root" in capsys.readouterr().out
    assert cli.main(["reproduce", "memory_removals", option]) == 2


def test_a_folder_without_the_data_is_reported_in_a_sentence(tmp_path, capsys):
    assert cli.main(["reproduce", "information_extremes_text", "--data-root", str(tmp_path)]) == 2
    assert "rt-polarity-negative.txt" in " ".join(capsys.readouterr().err.split())
