"""A network that is not ours, trained by a script that is not ours, scored from the command line and from Python."""

import importlib.util
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.preparation.prepare import prepare
from attribution_core.runs import Run
from attribution_core.training import Recipe, outputs_of
from attribution_core.workflows.clean import clean
from tests.support.own_model import MEAN, STD, write_digits, write_project
from tests.support.scored import ONLY_INFORMATION

EVERY_SCORE = {"fsi", "si", "variance", "error", "sensitivity", "loo_loss", "self_influence", "nearest_similarity"}
EVERY_SCORE |= {"label_quality", "ntk_mean"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def as_given(project):
    """The checkpoint as it is, from the command line."""
    out = project / "runs" / "given"
    arguments = ["score", str(project / "data"), "--model", f"{project / 'net.py'}:network", "--weights"]
    assert main([*arguments, str(project / "net.safetensors"), "--map", "off", "--out", str(out)]) == 0
    return Run.open(out)


def options(project, **given):
    model = f"{project / 'net.py'}:network"
    return {"data": str(project / "data"), "model": model, "map": "off", "recipe": Recipe(epochs=2), **given}


def module_of(project):
    """The trained network as the user's own program has it."""
    spec = importlib.util.spec_from_file_location("net", project / "net.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    model = loaded.network()
    model.load_state_dict(load_file(project / "net.safetensors"))
    return model


def test_a_checkpoint_is_scored_as_it_is_by_every_measure_that_fits(as_given, project):
    assert as_given.status == "complete"
    assert set(as_given.manifest.measures) == EVERY_SCORE
    assert np.isfinite(as_given.examples[list(EVERY_SCORE)]).all(axis=None)
    assert set(as_given.effect_methods) == {"ntk", "influence"}
    trained, scored = (
        load_file(path) for path in (project / "net.safetensors", as_given.path / "model/final.safetensors")
    )
    assert all(torch.equal(value, scored[name]) for name, value in trained.items())
    assert as_given.manifest.metrics["test_accuracy"] > 0.8
    assert "no training to follow" in as_given.manifest.details["contribution"]["skipped"]
    assert as_given.manifest.config["training"] == "none"
    assert not any("weights" in note for note in as_given.manifest.dataset.notes)


def test_its_predictions_are_those_of_the_users_own_program(as_given, project):
    splits = ac.open_dataset(project / "data")
    pixels = np.stack([np.asarray(splits.train[i][0], dtype=np.float32) for i in range(len(splits.train))])
    outputs = outputs_of(module_of(project), (torch.from_numpy(pixels)[:, None] / 255 - MEAN) / STD)
    confidence = outputs.double().softmax(dim=1).amax(dim=1)
    assert np.allclose(as_given.examples["confidence"], confidence, atol=1e-5)


def test_the_same_from_python(as_given, project, tmp_path):
    config = ac.ScoreConfig(
        **options(project, model="auto", out=tmp_path / "run"), preprocessing={"mean": [MEAN], "std": [STD]}
    )
    module = module_of(project)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run = ac.score(config, model=module)
    scores = list(EVERY_SCORE)
    assert np.allclose(run.examples[scores], as_given.examples[scores], rtol=1e-3, atol=1e-6)
    assert run.manifest.config["model"] == "python:Net"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    again = ac.score(config, model=module)
    assert again.manifest.stages["training"].started == run.manifest.stages["training"].started
    with torch.no_grad():
        module.head.weight.add_(1)
    with pytest.raises(InputError, match="another configuration"):
        ac.score(config, model=module)
    with pytest.raises(InputError, match=r"came from a Python program.*FILE.py:FUNCTION"):
        ac.score(ac.ScoreConfig(**run.manifest.config, out=tmp_path / "run"))


def test_a_module_that_was_fine_tuned_is_trained_again(project, tmp_path):
    module = module_of(project)
    run = ac.score(
        ac.ScoreConfig(**options(project, model="auto", out=tmp_path / "run", sensitivity="off"), training="fine-tune"),
        model=module,
    )
    found = ac.verify(run.path, examples=3, halves=0, seeds=1, model=module)
    assert {"fsi", "hydra", "influence"} <= set(found.methods)
    run.decisions.record([run.examples["id"][0]], "drop")
    assert len(clean(run.path, model=module).examples) == len(run.examples) - 1
    with pytest.raises(InputError, match=r"came from a Python program"):
        ac.summarize(run.path)
    with torch.no_grad():
        module.head.weight.add_(1)
    with pytest.raises(InputError, match=r"The module of the model python:Net changed since"):
        ac.summarize(run.path, model=module)


@pytest.mark.parametrize("command", ["verify", "summarize"])
def test_weights_that_were_given_cannot_be_trained_again_in_the_same_way(as_given, command, capsys):
    assert main([command, str(as_given.path)]) == 2
    assert "it is unknown how they were trained" in capsys.readouterr().err


def test_fine_tuning_starts_from_the_weights_and_has_all_measures(project, tmp_path):
    config = options(project, out=tmp_path / "run", weights=project / "net.pt", training="fine-tune")
    run = ac.score(ac.ScoreConfig(**config))
    start = load_file(run.path / "model" / "initial.safetensors")
    assert all(torch.equal(value, start[name]) for name, value in load_file(project / "net.safetensors").items())
    assert set(run.manifest.measures) == EVERY_SCORE | {"contribution", "clusters"}
    # A process of its own rebuilds the model from its file.
    found = ac.verify(run.path, examples=3, halves=0, seeds=1, processes=1)
    assert {"fsi", "hydra", "influence"} <= set(found.methods)


def test_training_from_scratch_and_cleaning(project, tmp_path):
    run = ac.score(ac.ScoreConfig(**options(project, out=tmp_path / "run")))
    assert set(run.manifest.measures) == EVERY_SCORE | {"contribution", "clusters"}
    dropped = run.examples["id"][0]
    run.decisions.record([dropped], "drop")
    assert main(["clean", str(run.path)]) == 0
    assert dropped not in set(Run.open(tmp_path / "run-cleaned").examples["id"])


def test_a_run_of_a_model_file_exports(as_given, tmp_path):
    dropped, relabelled = as_given.examples["id"][:2]
    as_given.decisions.record([dropped], "drop")
    as_given.decisions.record([relabelled], "relabel", 2)
    path = tmp_path / "clean.zip"
    assert main(["export", str(as_given.path), "--format", "folder", "--out", str(path)]) == 0
    zipfile.ZipFile(path).extractall(tmp_path / "clean")
    assert len(ac.open_dataset(tmp_path / "clean").train) == len(as_given.examples) - 1


@pytest.mark.parametrize(("trainable", "width"), [("head", 5 * 9), ("last-block", 5 * 9 + 2 * (8 * 72 + 8) + 16)])
def test_what_comes_first_may_stay_as_it_was_given(project, tmp_path, trainable, width):
    config = options(project, out=tmp_path / "run", weights=project / "net.safetensors", trainable=trainable)
    run = ac.score(ac.ScoreConfig(**config, training="fine-tune"))
    assert run.manifest.model["parameters"] == width
    assert set(run.manifest.measures) == EVERY_SCORE | {"contribution", "clusters"}
    assert run.manifest.metrics["test_accuracy"] > 0.8


def test_another_file_or_other_weights_are_another_run(project, tmp_path):
    config = ac.ScoreConfig(
        **options(project, out=tmp_path / "run", weights=tmp_path / "net.safetensors", training="fine-tune"),
        **ONLY_INFORMATION,
    )
    state = load_file(project / "net.safetensors")
    save_file(state, tmp_path / "net.safetensors")
    run = ac.score(config)
    save_file({**state, "head.bias": state["head.bias"] + 1}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="same options, other data or code"):
        ac.score(config)
    with pytest.raises(InputError, match=r"The weights of the model .* changed since"):
        ac.verify(run.path, examples=3, halves=0, seeds=1)


def test_what_will_be_skipped_is_reported_before_anything_runs(tmp_path, capsys, monkeypatch):
    """A network with normalisation by batches, dropout and a layer that cannot be differentiated example by example."""
    write_digits(tmp_path / "data", {"train": 8, "validation": 3, "test": 3})
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Rounded(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.gain = nn.Parameter(nn.init.ones_(__import__('torch').empty(8)))\n"
        "    def forward(self, x):\n"
        "        return x * self.gain if x.detach().sum().item() > -1e9 else x\n"
        "def build(num_outputs):\n"
        "    conv, norm = nn.Conv2d(1, 8, 3), nn.Dropout2d(0.1)\n"
        "    pool, head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, num_outputs)\n"
        "    return nn.Sequential(conv, norm, pool, nn.Flatten(), Rounded(), head)\n"
    )
    monkeypatch.setattr("attribution_core.scoring.stages.training.train", lambda *_, **__: 1 / 0)
    arguments = [
        "score",
        str(tmp_path / "data"),
        "--model",
        f"{tmp_path / 'net.py'}:build",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == 1  # where training would begin
    printed = capsys.readouterr().out
    assert "Without contributions (HYDRA): Layer '1' (Dropout2d) draws at random" in printed
    assert "Without sensitivities (MPE): No per-example gradients for layer 4" in printed
    assert "Without influence functions: No per-example gradients for layer 4" in printed
    assert "F-SI" not in printed
    assert main([*arguments, "--sensitivity", "kfac"]) == 2
    assert "layer 4" in capsys.readouterr().err


def test_a_model_without_a_head_says_what_works_on_it(tmp_path, capsys):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(num_outputs):\n"
        "    return nn.Sequential(nn.Conv2d(1, num_outputs, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    arguments = ["score", "digits", "--model", f"{tmp_path / 'net.py'}:build", "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "does not end in a linear layer" in printed
    assert "its last layer with parameters is '0', Conv2d" in printed
    assert "what works on it then: F-SI, SI and NTK influence, contributions (HYDRA), sensitivities (MPE)" in printed
    assert not (tmp_path / "run").exists()
    quick = ["--parameters", "all", "--epochs", "1", "--max-train", "60", "--map", "off"]
    assert main([*arguments, *quick]) == 0
    assert "has no head" in Run.open(tmp_path / "run").manifest.details["embeddings"]["skipped"]


def test_outputs_in_another_order_are_noticed(project, tmp_path, capsys):
    state, order = load_file(project / "net.safetensors"), [1, 0, 2, 3, 4]
    swapped = {name: state[name][order] for name in ("head.weight", "head.bias")}
    save_file({**state, **swapped}, tmp_path / "w.safetensors")
    arguments = [
        "score",
        str(project / "data"),
        "--model",
        f"{project / 'net.py'}:network",
        "--train",
        "head",
        "--map",
        "off",
    ]
    assert main([*arguments, "--weights", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "run")]) == 0
    assert "another order than the dataset's classes" in capsys.readouterr().out
    notes = json.loads((tmp_path / "run" / "run.json").read_text())["dataset"]["notes"]
    assert "if digit 0 means digit 1, digit 1 means digit 0." in notes[-1]


def test_grey_images_become_colour_for_a_model_that_takes_no_others(project, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    config = ac.ScoreConfig(**options(project, model="auto", image_size=12))
    prepared = prepare(config, model=model)
    inputs = prepared.tensors_by_split()["validation"][0]
    assert inputs.shape == (40, 3, 12, 12)
    assert torch.equal(inputs[:, 0], inputs[:, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"training": "scratch", "weights": "net.pt"}, "leave out --weights"),
        ({"trainable": "head"}, "none were given"),
        ({"model": "mlp", "training": "none"}, "mlp comes without weights"),
        ({"model": "mlp", "weights": "net.pt"}, "are for another model"),
        ({"hidden": (3,)}, "no hidden sizes"),
        ({"weights": "nowhere.safetensors"}, "cannot be read"),
        ({"preprocessing": {"mean": [0.1, 0.1, 0.1], "std": [1, 1, 1]}}, r"does not take inputs of shape \[3, 8, 8\]"),
    ],
)
def test_options_that_do_not_go_together_are_refused(project, tmp_path, given, message, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(InputError, match=message):
        ac.score(ac.ScoreConfig(**options(project, out=tmp_path / "run", **given)))
    assert not (tmp_path / "run").exists()
