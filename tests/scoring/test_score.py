"""From a configuration to a run, whole and resumable."""

import json
import math
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.preparation.prepare import prepare
from attribution_core.runs import CURVES, Run, fingerprint
from attribution_core.scoring import linearization
from attribution_core.scoring.score import score
from attribution_core.training import Recipe
from tests.support.processes import kill_at
from tests.support.scored import ONLY_INFORMATION, quick


def test_fsi_finds_the_planted_labels_of_the_demo(demo_run):
    examples = demo_run.examples
    changed = examples["original_label"] != examples["label_name"]
    area = roc_auc_score(changed, examples["fsi"])
    print(f"\nArea under the ROC curve of F-SI for 'label was changed': {area:.4f} ({changed.sum()} of {len(changed)})")
    assert changed.sum() == 100
    assert area >= 0.95


def test_the_demo_run_is_whole(demo_run):
    examples, held_out, manifest = demo_run.examples, demo_run.evaluation, demo_run.manifest
    assert demo_run.status == "complete"
    assert manifest.measures == [
        "label_quality", "fsi", "si", "ntk_mean", "nearest_similarity", "contribution", "clusters",
        "variance", "error", "sensitivity", "loo_loss", "self_influence",
    ]  # fmt: skip
    assert (len(examples), len(held_out)) == (2000, 2000)
    assert held_out["split"].value_counts().to_dict() == {"validation": 1000, "test": 1000}
    assert np.allclose(examples["ntk_mean"], demo_run.effects("ntk")[:].mean(axis=1), rtol=1e-4, atol=1e-9)
    assert examples[["fsi", "si"]].gt(0).all(axis=None)
    assert np.isfinite(examples[["fsi", "si"]]).all(axis=None)
    assert any("changed on purpose" in note for note in manifest.dataset.notes)
    assert manifest.metrics["test_accuracy"] > 0.8
    data, media_type = demo_run.thumbnail("train", 7)
    assert media_type == "image/png"
    assert data.startswith(b"\x89PNG")


def test_effects_and_evolution_agree_with_the_scores(demo_run):
    effects = demo_run.effects("ntk")
    assert effects.shape == (2000, 1000)
    assert np.isfinite(effects[:]).all()
    # An example with a wrong label harms the validation examples more than one with a right label does.
    changed = (demo_run.examples["original_label"] != demo_run.examples["label_name"]).to_numpy()
    assert effects[:].mean(axis=1)[changed].mean() < 0 < effects[:].mean(axis=1)[~changed].mean()
    times, evolution = demo_run.evolution("fsi")
    now = int(np.flatnonzero(np.isclose(times, demo_run.manifest.config["steps"]))[0])
    assert evolution.shape == (len(times), 2000)
    assert np.allclose(evolution[now], demo_run.examples["fsi"], rtol=1e-5)


def test_the_curves_are_those_of_the_registry_and_of_the_kernel_regime(demo_run):
    curves = demo_run.curves
    asked_for = {"summarization", "summarization_linear", "regularization"}
    assert set(curves["curve"]) == set(CURVES) - asked_for
    assert np.isfinite(curves[["x", "y"]].to_numpy()).all()
    error = curves[curves["curve"] == "ihvp_error"].pivot_table(index="x", columns="series", values="y")
    assert list(error.columns) == ["error rate"]
    assert "zero here, since 2,000 examples have only" in demo_run.manifest.details["ihvp_error"]["note"]
    assert error["error rate"].is_monotonic_decreasing
    complexity = curves[curves["curve"] == "complexity_by_influence"]["y"].to_numpy()
    assert complexity[[0, -1]].min() > complexity[3:7].max()
    leaders = curves[curves["curve"] == "changed_among_influencers"]
    changed = demo_run.examples["original_label"] != demo_run.examples["label_name"]
    assert np.allclose(leaders[leaders["series"] == "among all"]["y"], changed.mean())


def test_the_tables_hold_the_trained_models_predictions(demo_run):
    splits = ac.open_dataset("fashion-demo")
    model = ac.build_model("mlp", 10, (1, 28, 28))
    model.load_state_dict(load_file(demo_run.path / "model" / "final.safetensors"))
    pixels = np.stack([np.asarray(splits.train[i][0], dtype=np.float64) for i in range(len(splits.train))]) / 255
    inputs = torch.from_numpy((pixels - pixels.mean()) / pixels.std()).float()[:, None]
    probabilities = model(inputs).softmax(dim=1).detach().numpy()
    examples = demo_run.examples
    own = probabilities[np.arange(2000), examples["label"]]
    assert np.allclose(-np.log(own), examples["loss"], atol=1e-3)
    assert np.allclose(probabilities.max(axis=1), examples["confidence"], atol=1e-4)
    assert (examples["correct"] == (examples["predicted"] == examples["label"])).all()
    assert ((examples["margin"] > 0) == examples["correct"]).all()
    assert examples["id"].tolist() == splits.train.ids


def test_fsi_of_the_head_equals_training_the_head_again(tmp_path):
    """Removal of three examples, by a fresh ridge regression of each on the run's own trained features."""
    run = score(quick(tmp_path, steps=math.inf, weight_decay=0.5, max_train=200, **ONLY_INFORMATION))
    splits = ac.open_dataset("digits", max_train=200)
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,))
    model.load_state_dict(load_file(run.path / "model" / "final.safetensors"))

    def images(split):
        return np.stack([np.asarray(split[i][0], dtype=np.float64) for i in range(len(split))]) / 255

    train, validation = images(splits.train), images(splits.validation)
    mean, std = train.mean(), train.std()

    def features(pixels):
        hidden = model[:-1](torch.from_numpy((pixels - mean) / std).float()[:, None]).detach().double().numpy()
        return np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)

    x, z, y = features(train), features(validation), np.eye(10)[splits.train.labels]
    decay = 0.5 * np.square(x).sum(axis=1).mean() * np.eye(x.shape[1])

    def predictions(kept):
        return z @ np.linalg.solve(x[kept].T @ x[kept] + decay, x[kept].T @ y[kept])

    everyone = np.arange(len(x))
    for i in (0, 17, 133):
        change = predictions(everyone) - predictions(np.delete(everyone, i))
        expected = np.square(change).sum(axis=1).mean() / 2
        assert run.examples["fsi"][i] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("parameters", "sketch", "route"),
    [
        ("all", "kronecker", "kronecker sketch"),
        ("all", "coordinates", "coordinates sketch"),
        ("^3", "kronecker", "3 parameters, exact"),
        ("head", "kronecker", "the head, retrained"),
    ],
)
def test_each_route_is_said_in_the_run(tmp_path, parameters, sketch, route, monkeypatch):
    monkeypatch.setattr(linearization, "EXACT_SIZE", 1000)
    options = {"parameters": parameters, "sketch": sketch, "dimension": 50, "max_train": 150}
    run = score(quick(tmp_path, **options, **ONLY_INFORMATION))
    details = run.manifest.details["fsi"]
    assert route in details["route"]
    assert (details["kept_energy"] is not None) == ("kronecker sketch" in route)
    assert np.isfinite(run.examples["fsi"]).all()


def test_scoring_is_repeatable_and_resumes_without_repeating(tmp_path):
    first = score(quick(tmp_path))
    started = first.manifest.stages["training"].started
    again = score(quick(tmp_path))
    assert again.manifest.stages["training"].started == started
    other = score(quick(tmp_path, out=tmp_path / "other"))
    pd.testing.assert_frame_equal(first.examples, other.examples)


def test_a_run_killed_at_any_moment_resumes(tmp_path):
    whole = score(quick(tmp_path, out=tmp_path / "whole"))
    config = quick(tmp_path, out=tmp_path / "cut", map="umap")
    for moment in ("thumbnails", "training", "leave-one-out", "replaying", "influence along", "laying out"):
        kill_at(moment, score, config)
    stages = Run.open(tmp_path / "cut").manifest.stages
    assert (stages["training"].status, stages["map"].status) == ("done", "running")
    finished = score(config)
    # Only this run has places on the map, which follow the embeddings' last bits.
    places = ["umap_x", "umap_y"]
    pd.testing.assert_frame_equal(finished.examples.drop(columns=places), whole.examples)
    assert np.isfinite(finished.evaluation[places]).all(axis=None)


def test_a_run_of_an_earlier_version_resumes_and_gets_what_it_lacks(tmp_path):
    """One whose configuration has no map yet, and whose stages end with what there was then."""
    config = quick(tmp_path, map="umap", sensitivity="off", influence="off")
    before = score(config)
    file = before.path / "run.json"
    plain = json.loads(file.read_text())
    del plain["config"]["map"]
    plain["fingerprint"] = fingerprint(plain["config"])
    new = ("live", "embeddings", "map", "classes")
    for stage in new:
        del plain["stages"][stage]
    for stage in plain["stages"].values():
        stage["started"] = "then"
    file.write_text(json.dumps(plain))
    before.examples.drop(columns=["umap_x", "umap_y"]).to_parquet(before.path / "examples.parquet")
    for name in ("class_effects.parquet", "class_pairs.parquet", "embeddings", "linearised"):
        path = before.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    after = score(config)
    stages = after.manifest.stages
    assert {name for name, stage in stages.items() if stage.started != "then"} == set(new)
    assert after.status == "complete"
    assert after.manifest.config == plain["config"]
    assert after.manifest.fingerprint == plain["fingerprint"]
    pd.testing.assert_frame_equal(after.examples, before.examples)
    assert (after.path / "linearised" / "model.safetensors").is_file()
    assert set(after.class_pairs["method"]) == {"ntk", "hydra"}
    with pytest.raises(InputError, match="map is None there and 'off' here"):
        score(config.model_copy(update={"map": "off"}))


def test_another_configuration_or_other_data_are_refused(tmp_path):
    folder = tmp_path / "images"
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = generator.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    options = {"data": str(folder), **ONLY_INFORMATION}
    score(quick(tmp_path, **options))
    with pytest.raises(InputError, match="holds a run of another configuration"):
        score(quick(tmp_path, **options, seed=1))
    Image.new("L", (8, 8)).save(folder / "a" / "0.png")
    with pytest.raises(InputError, match="has changed since"):
        score(quick(tmp_path, **options))


def test_group_columns_never_hide_our_own(tmp_path):
    splits = ac.open_dataset("digits")
    rows = [{"image": {"bytes": _png(splits.train[i][0]), "path": f"{i}.png"}, "label": i % 2, "loss": i, "fsi": 1.0,
             "camera": "x"} for i in range(60)]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "data.parquet")
    examples = score(quick(tmp_path, data=str(tmp_path / "data.parquet"), **ONLY_INFORMATION)).examples
    assert {"loss", "loss_in_data", "fsi", "fsi_in_data", "camera"} <= set(examples.columns)
    assert examples["fsi_in_data"].eq(1.0).all()


def test_the_function_and_the_module_share_a_name(tmp_path):
    import attribution_core.scoring.score

    assert attribution_core.score(quick(tmp_path, max_train=50, **ONLY_INFORMATION)).status == "complete"
    assert ac.score is attribution_core.score
    code = "import attribution_core as ac; ac.ScoreConfig; print(callable(ac.score))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"


def test_a_known_name_is_the_dataset_also_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    prepared = prepare(quick(tmp_path))
    assert prepared.config.data == "digits"
    assert prepared.splits.location == ""


def test_reading_runs_does_not_wait_for_torch():
    code = "import sys, attribution_core.runs; print('torch' in sys.modules)"
    start = time.perf_counter()
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "nowhere"}, "There is no file or folder"),
        ({"model": "resnet"}, "There is no model"),
        ({"model": "cnn4", "hidden": ()}, "pixels a side"),
        ({"model": "transformer_lm"}, "choose one of linear, mlp, two_layer, lenet5"),
        ({"model": "two_layer"}, "does not end in a linear layer"),
        ({"parameters": "nothing_like_it"}, "No parameter's name matches"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"recipe": Recipe(loss="binary_cross_entropy")}, "train with cross_entropy"),
        ({"recipe": Recipe(loss="mse")}, "train with cross_entropy"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        score(quick(tmp_path, **options))


def _png(image):
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
