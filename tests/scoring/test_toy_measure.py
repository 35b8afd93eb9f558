"""A new measure is one file with its stage and one entry among the measures; all else follows."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

import attribution_core as ac
import samplescope_app
from attribution_core.cli.main import main
from attribution_core.export.export import export_run
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.models import load_weights
from attribution_core.preparation.prepare import prepare
from attribution_core.runs import MEASURES, Measure
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring import stages
from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.memory_check import stages_left
from attribution_core.scoring.score import score
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.support import skip_reasons
from samplescope_app.data import run_library
from tests.support.scored import ONLY_INFORMATION, quick

FILE = """
from attribution_core.scoring.stages.base import Stage
from attribution_core.scoring.stages.linearized import shared_linearized


class FeatureNormStage(Stage):
    name = "feature_norm"
    title = "norms of features"
    order = 25

    def bytes_needed(self, sizes):
        return 8 * sizes.n

    def seconds_probe(self, probe):
        return 1e-7 * probe.sizes.n

    def write(self, scoring):
        linear, _, _ = shared_linearized(scoring)
        norms = linear.features.flatten(1).norm(dim=1)
        scoring.writer.add_column("examples", "feature_norm", norms.double().cpu().numpy())
        scoring.writer.describe("feature_norm", {"route": "the linearized model"}, ["feature_norm"])
"""
ENTRY = Measure(
    name="feature_norm",
    title="Norm of the features",
    kind="informativeness",
    unit="",
    definition="The length of an example's features in the linearized model.",
    equation=r"\lVert \phi(x_i) \rVert",
    paper="a test",
    suspicious=None,
    signed=False,
)


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    """The file and the entry, taken out again afterwards."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "feature_norm.py").write_text(FILE)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path / "stages")])
    monkeypatch.setitem(MEASURES, ENTRY.name, ENTRY)
    before = list(stages.STAGES)
    stages.STAGES[:] = stages.find_stages()
    yield
    stages.STAGES[:] = before
    sys.modules.pop("attribution_core.scoring.stages.feature_norm")


def test_a_measure_in_one_file_is_scored_estimated_listed_drawn_and_exported(tmp_path, capsys):
    config = quick(tmp_path, max_train=120, **ONLY_INFORMATION)

    estimated = estimate(config)
    assert list(estimated.seconds).index("feature_norm") == list(estimated.seconds).index("linearised") + 1
    assert estimated.seconds["feature_norm"] == pytest.approx(1e-7 * 120)
    prepared = prepare(config)
    assert "feature_norm" in [stage.name for stage in stages_left(RunSizes(prepared), skip_reasons(prepared))]

    run = score(config)
    assert run.manifest.stages["feature_norm"].status == "done"
    assert "feature_norm" in run.scores
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,))
    load_weights(model, run.path / FINAL_WEIGHTS_FILE)
    inputs = prepare(config).tensors_by_split()["train"][0]
    norms = (head_inputs(model, inputs).square().sum(dim=1) + 1).sqrt()
    assert np.allclose(run.examples["feature_norm"], norms, rtol=1e-4)

    assert main(["methods"]) == 0
    assert "Norm of the features" in capsys.readouterr().out
    options = ["--max-train", "120", "--epochs", "1", "--map", "off", "--influence", "off"]
    assert main(["estimate", "digits", *options]) == 0
    assert "norms of features" in capsys.readouterr().out

    run_library.serve(run.path)
    app = AppTest.from_file(str(Path(samplescope_app.__file__).parent / "main.py"), default_timeout=60)
    app.switch_page("pages/overview.py")
    app.run()
    assert not app.exception
    chooser = next(box for box in app.selectbox if "Norm of the features" in box.options)
    chooser.set_value("feature_norm").run()
    assert not app.exception
    said = " ".join(each.value for each in app.markdown)
    assert "Distribution of norm of the features" in said
    assert "features in the linearized model" in said

    exported = pd.read_csv(export_run(run, "csv", tmp_path / "list.csv").path)
    exported = exported[exported["split"] == "train"]
    assert np.allclose(exported["feature_norm"], run.examples["feature_norm"])


def test_a_run_of_before_gets_the_new_measure_and_nothing_else_is_done_again(tmp_path):
    config = quick(tmp_path, max_train=120, **ONLY_INFORMATION)
    added = [stage for stage in stages.STAGES if stage.name == "feature_norm"]
    stages.STAGES.remove(added[0])
    before = score(config)
    assert "feature_norm" not in before.examples
    stages.STAGES[:] = sorted([*stages.STAGES, *added], key=lambda stage: stage.order)
    after = score(config)
    assert "feature_norm" in after.scores
    started = {name: stage.started for name, stage in after.manifest.stages.items() if name != "feature_norm"}
    assert started == {name: stage.started for name, stage in before.manifest.stages.items()}
    assert torch.equal(torch.tensor(after.examples["fsi"]), torch.tensor(before.examples["fsi"]))
