"""Influence functions beside their own question: in a run, again with more examples, in a terminal, and refused."""

import numpy as np
import pandas as pd
import pytest

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.evaluation.responses import COMPARED, PARTS, Removals
from attribution_core.runs.names import RESPONSES_FILE
from attribution_core.workflows.responses import compare_responses
from attribution_core.workflows.verify import chosen_examples
from tests.support.scored import copy_to_change, quick


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    options = {"hidden": (4,), "contributions": "off", "sensitivity": "off"}
    return ac.score(quick(tmp_path_factory.mktemp("responses"), max_train=60, **options))


@pytest.fixture
def run(scored, tmp_path):
    return copy_to_change(scored, tmp_path)


def test_what_was_computed_is_kept_and_more_examples_are_added(run, monkeypatch):
    computed, of = [], Removals.of
    monkeypatch.setattr(Removals, "of", lambda self, row: computed.append(row) or of(self, row))
    compare_responses(run.path, 2)
    found = compare_responses(run.path, 3)
    assert computed == chosen_examples(run, 3)
    assert found["rows"] == chosen_examples(run, 3)
    assert found == ac.Run.open(run.path).manifest.details["responses"]
    table = pd.read_parquet(run.path / RESPONSES_FILE)
    assert table["row"].tolist() == found["rows"]
    assert list(found["parts"]) == list(PARTS)
    for part, (mean, spread) in found["parts"].items():
        assert mean == pytest.approx(table[part].mean())
        assert spread == pytest.approx(table[part].std())
    effects = np.concatenate([run.effects("influence")[row] for row in found["rows"]])
    at_the_end = np.concatenate(table["influence"].to_list())
    for name in COMPARED:
        real = np.concatenate(table[name].to_list())
        for kind, predicted in (
            ("at the end", at_the_end),
            ("along training", effects),
        ):
            expected = np.corrcoef(predicted, real)[0, 1]
            assert found["correlations"][kind][name][0] == pytest.approx(expected, abs=1e-6)
    own = {name: pair[0] for name, pair in found["correlations"]["at the end"].items()}
    assert max(own, key=lambda name: own[name]) == "bregman"


def test_in_a_terminal(run, capsys):
    assert main(["verify", str(run.path), "--examples", "3", "--halves", "0", "--seeds", "1", "--responses", "2"]) == 0
    printed = capsys.readouterr().out
    assert "its own question" in printed
    assert "over 2 removed examples" in printed
    assert "warm-start" in printed


def test_what_cannot_be_compared_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="at least 2"):
        compare_responses(run.path, 1)
    (run.path / RESPONSES_FILE).write_bytes(b"broken")
    with pytest.raises(InputError, match="is damaged"):
        compare_responses(run.path, 2)
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(4,))
    given = ac.score(quick(tmp_path / "given", max_train=60, hidden=(), training="none"), model)
    with pytest.raises(InputError, match="no training to repeat"):
        compare_responses(given.path, 2)
