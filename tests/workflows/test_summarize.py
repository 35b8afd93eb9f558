"""Test summarizing a run, from Python and from the command line."""

import numpy as np

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.evaluation.summarization import STRATEGIES
from attribution_core.runs.names import SUMMARIZATION_FILE
from attribution_core.workflows.summarize import summarize
from tests.support.scored import quick


def test_summarization_records_how_much_of_the_data_can_be_removed(tmp_path, capsys):
    run = ac.score(quick(tmp_path, max_train=200))
    assert "summarization" not in set(run.curves["curve"])
    found = summarize(run.path, seeds=2)
    assert set(found.retrained.accuracy) == set(STRATEGIES)
    whole = found.retrained.accuracy["bottom"][0, 0]
    assert float(whole) == run.manifest.metrics["test_accuracy"]  # the run's own training, from its own seed
    for strategy in STRATEGIES:
        assert found.retrained.accuracy[strategy].shape == found.linear.accuracy[strategy].shape == (10, 2)
        assert float(found.retrained.accuracy[strategy][0, 0]) == float(whole)
    run = ac.Run.open(run.path)
    assert sorted(run.examples["summary_rank"]) == list(range(len(run.examples)))
    lowest = run.examples["fsi"].rank()[run.examples["summary_rank"] < 10]
    assert lowest.max() <= 10  # the first part to go is the least informative
    curves = run.curves[run.curves["curve"] == "summarization"]
    assert sorted(set(curves["series"])) == sorted(STRATEGIES)
    means = found.retrained.accuracy["top"].mean(dim=1).numpy()
    assert np.allclose(curves[curves["series"] == "top"]["y"], means)
    assert run.manifest.details["summarization"]["seeds"] == 2
    before = (run.path / SUMMARIZATION_FILE).stat().st_mtime_ns
    assert main(["summarize", str(run.path), "--seeds", "2"]) == 0
    assert (run.path / SUMMARIZATION_FILE).stat().st_mtime_ns == before  # nothing was trained again
    assert "bottom" in capsys.readouterr().out
