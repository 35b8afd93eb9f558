"""Comparing large runs: what the page computes, without a browser."""

import time

import numpy as np
import pandas as pd

from attribution_core.runs import Run
from samplescope_app.data import comparison, run_library
from samplescope_app.figures import Cloud, score_scatter
from tests.support.app_pages import open_page, page_text
from tests.support.sample_run import make_run


def test_fifty_thousand_examples_are_compared_within_a_second(tmp_path):
    for seed, name in enumerate(("first", "second")):
        _grow(make_run(tmp_path / name, n=40, evidence=False), 50_000, seed)
    run_library.serve(tmp_path)
    app = open_page("compare", run="first")
    assert any("**50,000** training examples in both" in each.value for each in app.markdown)
    began = time.process_time()
    app.run()
    seconds = time.process_time() - began
    print(f"\n50,000 examples: the page again in {seconds:.2f} s")
    assert seconds < 1


def test_runs_of_other_data_and_a_single_run_say_so(tmp_path):
    make_run(tmp_path / "mine", n=40)
    run_library.serve(tmp_path)
    assert "This is the only run in its folder." in page_text(open_page("compare", run="mine"))
    make_run(tmp_path / "other", n=40, ids=[f"else-{i}" for i in range(40)])
    assert "The other run in this folder is of other data" in page_text(open_page("compare", run="mine"))
    make_run(tmp_path / "third", n=40, ids=[f"more-{i}" for i in range(40)])
    text = page_text(open_page("compare", run="mine"))
    assert "The other 2 runs in this folder are of other data" in text
    assert "Drop or relabel examples on Review and retrain there" in text


def test_a_cleaned_run_comes_after_the_one_it_was_cleaned_from(tmp_path):
    parent, child, stranger = (Run.open(make_run(tmp_path / name, n=40)) for name in ("parent", "child", "stranger"))
    child.manifest.details["cleaning"] = {"parent": "parent"}
    child.manifest.created, parent.manifest.created = parent.manifest.created, "2100-01-01T00:00:00+00:00"
    assert comparison.in_order(parent, child) == comparison.in_order(child, parent) == (parent, child)
    assert comparison.default_partner(child, [stranger, parent]) is parent
    assert comparison.default_partner(parent, [stranger, child]) is child
    assert comparison.default_partner(stranger, [child, parent]) is child  # the newest, since all are of the same data


def test_settings_are_laid_out_flat(tmp_path):
    run = Run.open(make_run(tmp_path / "run", n=40))
    run.manifest.config.update(recipe={"learning_rate": 0.1}, decisions="/far/away/0123.csv", max_train=None)
    found = comparison.settings(run)
    assert (found["recipe: learning rate"], found["decisions"], found["max train"]) == ("0.1", "0123.csv", "")
    assert found["trained model"] == "lenet5"


def test_every_example_is_drawn_and_sent_in_few_bytes():
    rng = np.random.default_rng(0)
    heavy = Cloud("<b>right</b>", rng.lognormal(-6, 2, 1000), np.append(rng.lognormal(-6, 2, 999), 0.0))
    figure = score_scatter([heavy, Cloud("wrong", np.ones(3), np.ones(3))], "before", "after")
    assert figure.layout.xaxis.type == "log"
    assert [len(trace.x) for trace in figure.data[:2]] == [1000, 3]
    assert np.min(figure.data[0].y) > 0  # a score that is zero is drawn at the foot
    assert figure.data[0].x.dtype == np.float32
    assert figure.data[0].name == "&lt;b&gt;right&lt;/b&gt;"
    signed = Cloud("right", rng.normal(size=10), rng.normal(size=10))
    assert score_scatter([signed], "before", "after").layout.xaxis.type is None


def _grow(run, n: int, seed: int) -> None:
    """Makes a run's table of training examples ``n`` long, with scores of its own."""
    rng, file = np.random.default_rng(seed), run / "examples.parquet"
    frame = pd.read_parquet(file)
    frame = frame.iloc[np.arange(n) % len(frame)].reset_index(drop=True)
    frame["id"] = [f"train-{i:05d}" for i in range(n)]
    for name in ("fsi", "sensitivity", "contribution", "loss"):
        frame[name] = rng.lognormal(-4, 1, n)
    frame.to_parquet(file, index=False)
