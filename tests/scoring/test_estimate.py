"""Cost first: what the command line says of a run before it is made, and plans that do not fit."""

import pytest

from attribution_core.cli.main import main
from attribution_core.scoring import estimate as estimate_module
from attribution_core.scoring import stages
from attribution_core.scoring.estimate import estimate
from tests.support.scored import quick
from tests.support.tables import make_table, make_texts, write_table

STAGES = ("dataset", "training", "linearised", "contributions", "sensitivity", "influence", "neighbours")


def test_the_command_prints_every_stage_and_makes_no_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["estimate", "digits", "--max-train", "200", "--epochs", "1", "--map", "off"]) == 0
    said = capsys.readouterr().out
    assert all(stage.title in said for stage in stages.STAGES if stage.name in STAGES)
    assert "turned off (map=off)" in said
    assert "GB of memory at the peak" in said
    assert list(tmp_path.iterdir()) == []


def test_it_takes_the_options_of_score(capsys):
    assert main(["estimate", "digits", "--hidden", "5", "--model", "linear"]) == 2
    assert "linear has no hidden sizes" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("frame", [make_table(), make_texts()], ids=["table", "texts"])
def test_texts_and_tables_have_a_cost(tmp_path, frame):
    found = estimate(quick(tmp_path, data=str(write_table(frame, tmp_path / "d.csv"))))
    assert set(STAGES) <= set(found.seconds)
    assert found.examples == 28
    assert 0 < found.base < found.memory


def test_the_command_refuses_a_plan_that_does_not_fit(capsys, monkeypatch):
    monkeypatch.setattr(estimate_module, "free_bytes", lambda _device: 1_000_000)
    assert main(["estimate", "digits", "--max-train", "200", "--epochs", "1", "--map", "off"]) == 2
    said = capsys.readouterr()
    assert "GB of memory at the peak" in said.out
    assert "and 0.0 GB are free on this machine" in said.err
