"""What the stages after training write into a run: contributions, sensitivities, influence functions."""

import json
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.runs.names import KEPT_INFLUENCE_FILE
from attribution_core.runs.tables import LEAKS
from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.recorded_training import kept_epochs
from attribution_core.scoring.score import score
from attribution_core.scoring.stages import influence
from attribution_core.training import Recipe
from attribution_core.workflows.live_influence import LiveInfluence
from tests.support.scored import ONLY_INFORMATION, QUICK, digits_as_scored, quick

BUT_SENSITIVITY = {"contributions": "off", "influence": "off"}
BUT_INFLUENCE = {"contributions": "off", "sensitivity": "off"}
NO_OTHERS = {"sensitivity": "off", "influence": "off"}


def test_contributions_agree_with_the_effects_of_pairs_classes_and_epochs(demo_run):
    effects, contribution = demo_run.effects("hydra")[:], demo_run.examples["contribution"].to_numpy()
    assert effects.shape == (2000, 1000)
    assert np.allclose(effects.mean(axis=1), contribution, rtol=1e-3, atol=1e-7)
    epochs, parts = demo_run.evolution("contribution")
    assert epochs.tolist() == list(range(1, demo_run.manifest.config["recipe"]["epochs"] + 1))
    assert np.allclose(parts[:].sum(axis=0), contribution, rtol=1e-3, atol=1e-7)
    classes = demo_run.class_effects.query("method == 'hydra'")
    matrix = classes.pivot_table(index="train_class", columns="evaluation_class", values="effect")
    mine, theirs = (frame["label_name"].to_numpy() for frame in (demo_run.examples, demo_run.evaluation.head(1000)))
    assert np.isclose(matrix.loc["Coat", "Shirt"], effects[mine == "Coat"][:, theirs == "Shirt"].mean(), rtol=1e-4)
    clusters = torch.from_numpy(demo_run.examples["clusters"].to_numpy())
    labels = torch.from_numpy(demo_run.examples["label"].to_numpy())
    assert torch.equal(clusters > 0, ac.label_noise_clusters(torch.from_numpy(effects), labels).suspect)
    # HYDRA, figure 2: examples of a class help their own most.
    assert (matrix.idxmax(axis=1) == matrix.index).sum() >= 9
    # A wrong label is worth less than a right one.
    changed = (demo_run.examples["original_label"] != demo_run.examples["label_name"]).to_numpy()
    area = roc_auc_score(changed, -contribution)
    print(f"\nArea under the ROC curve of the contribution for 'label was changed': {area:.4f}")
    assert area > 0.65
    table = demo_run.influential(count=5)
    assert list(table.columns) == ["id", "label_name", "predicted_name", "confidence", "contribution"]
    assert table["contribution"].abs().tolist() == sorted(np.abs(contribution), reverse=True)[:5]
    with pytest.raises(InputError, match="has no score nothing"):
        demo_run.influential("nothing")


def test_effects_of_the_demo_beyond_what_a_removal_can_do_are_counted(demo_run):
    losses = demo_run.evaluation["loss"].to_numpy()[:1000]
    for method in ("hydra", "influence"):
        credible = demo_run.credible_effects(method)
        assert np.allclose(credible.losses, losses, rtol=1e-4, atol=1e-6)
        assert credible.highest == pytest.approx(losses.max(), rel=1e-4)
        assert demo_run.share_not_credible(method) == credible.excludes(demo_run.effects(method)[:]).mean()
    assert 0.01 < demo_run.share_not_credible("hydra") < 0.2  # 8% would take a loss below zero
    assert demo_run.share_not_credible("ntk") == 0  # it is exact for its own model


def test_contributions_of_a_run_are_those_of_its_training(tmp_path):
    run = score(quick(tmp_path, contributions="exact", sensitivity="off", influence="off"))
    train_side, evaluation = digits_as_scored("train", "validation")
    trajectory = ac.train(ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,)), train_side, QUICK)
    exact = ac.hydra(trajectory, evaluation, hessian=True, objective="mean")
    assert np.allclose(run.examples["contribution"], exact.effect, rtol=1e-4, atol=1e-9)
    assert np.allclose(run.evolution("contribution")[1][:], exact.by_epoch, rtol=1e-4, atol=1e-9)
    assert np.allclose(run.effects("hydra")[:], ac.hydra(trajectory, evaluation).effect, rtol=1e-4, atol=1e-9)
    assert "exact" in run.manifest.details["contribution"]["route"]


def test_contributions_of_adam_are_the_exact_ones_of_the_mean(tmp_path):
    recipe = QUICK.model_copy(update={"optimizer": "adamw", "learning_rate": 0.01})
    run = score(quick(tmp_path, recipe=recipe, sensitivity="off", influence="off"))
    train_side, evaluation = digits_as_scored("train", "validation")
    trajectory = ac.train(ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,)), train_side, recipe)
    exact = ac.hydra(trajectory, evaluation, hessian=True, objective="mean")
    assert np.allclose(run.examples["contribution"], exact.effect, rtol=1e-3, atol=1e-7)
    assert np.allclose(run.evolution("contribution")[1][:], exact.by_epoch, rtol=1e-3, atol=1e-7)
    assert "hydra" not in run.effect_methods
    assert run.manifest.details["contribution"]["route"] == "exact (with the Hessian), on the mean alone"
    assert run.manifest.details["contribution"]["growth"] == pytest.approx(exact.growth, rel=1e-2)


def test_a_network_with_batch_normalization_has_contributions(tmp_path):
    recipe = Recipe(epochs=1, batch_size=32)
    options = {"model": "resnet20", "hidden": (), "recipe": recipe, "max_train": 64, **NO_OTHERS}
    run = score(quick(tmp_path, **options))
    assert (
        "through the statistics of each batch; in effects on single examples"
        in run.manifest.details["contribution"]["route"]
    )
    assert np.isfinite(run.effects("hydra")[:]).all()
    assert np.allclose(run.evolution("contribution")[1][:].sum(axis=0), run.examples["contribution"], rtol=1e-4)
    exact = quick(tmp_path, **options, contributions="exact", out=tmp_path / "exact")
    assert estimate(exact).seconds["contributions"] > 0
    correlation = spearmanr(run.examples["contribution"], score(exact).examples["contribution"])[0]
    print(f"\nRank correlation of Hessian-free and exact contributions of a small ResNet: {correlation:.2f}")
    assert correlation > 0.3


def test_sensitivities_of_the_demo_agree_with_each_other(demo_run):
    examples = demo_run.examples
    epochs, evolution = demo_run.evolution("sensitivity")
    assert epochs.tolist() == [1, 2, 5, 10, 20]
    assert np.allclose(evolution[-1], examples["sensitivity"], rtol=1e-5)
    curves = demo_run.curves.set_index(["curve", "series"])
    loo = curves.loc[("loo_nll", "loo_nll")]
    assert loo["x"].tolist() == [1, 2, 5, 10, 20]
    assert loo["y"].iloc[-1] == pytest.approx(examples["loo_loss"].mean(), rel=1e-6)
    assert curves.loc[("loo_nll", "training")]["y"].iloc[-1] == pytest.approx(examples["loss"].mean(), rel=1e-4)
    test = demo_run.evaluation.query("split == 'test'")["loss"].mean()
    assert curves.loc[("loo_nll", "test_nll")]["y"].iloc[-1] == pytest.approx(test, rel=1e-4)
    by_class = examples.groupby("label")[["loo_loss", "loss"]].mean()
    assert np.allclose(curves.loc[("loco", "without the class")]["y"], by_class["loo_loss"], rtol=1e-5)
    assert np.allclose(curves.loc[("loco", "training")]["y"], by_class["loss"], rtol=1e-4)
    groups = curves.loc[("sensitivity_groups", "after epoch 20")]["y"]
    assert len(groups) == 60
    assert groups.is_monotonic_decreasing
    assert groups.mean() == pytest.approx(examples["sensitivity"].mean(), rel=0.03)
    changed = examples["original_label"] != examples["label_name"]
    areas = {name: roc_auc_score(changed, examples[name]) for name in ("sensitivity", "loo_loss", "variance", "error")}
    print("\nArea under the ROC curve for 'label was changed':", {name: round(v, 3) for name, v in areas.items()})
    assert min(areas["sensitivity"], areas["loo_loss"]) > 0.85


def test_sensitivities_of_a_run_are_those_of_its_training(tmp_path):
    run = score(quick(tmp_path, sensitivity="diagonal", **BUT_SENSITIVITY))
    train_side, test_side = digits_as_scored("train", "test")
    trajectory = ac.train(ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,)), train_side, QUICK, record="checkpoints")
    found = ac.memory_evolution(trajectory, "diagonal", test=test_side, early_stopping=True, along_error=True)
    assert np.allclose(run.evolution("sensitivity")[1][:], found.sensitivity, rtol=1e-4, atol=1e-9)
    assert np.allclose(run.examples["loo_loss"], found.last.loo_loss, rtol=1e-4)
    assert np.allclose(run.examples["variance"], found.last.error_variance, rtol=1e-4)
    assert np.allclose(run.examples["error"], found.last.error.norm(dim=1), rtol=1e-4)
    decay = 5e-4 + 0.1 / sum(trajectory.rates)
    facts = run.manifest.details["sensitivity"]
    assert facts["delta"] == pytest.approx(decay * len(train_side[0]))
    assert facts["delta_of_objective"] == pytest.approx(5e-4 * len(train_side[0]))
    assert f"delta {facts['delta']:.3g} ({facts['delta_of_objective']:.3g} from the weight decay" in facts["route"]


@pytest.mark.parametrize("optimizer", ["adam", "iblr"])
def test_an_optimisers_own_posterior_serves_a_run(tmp_path, optimizer):
    recipe = Recipe(epochs=2, optimizer=optimizer, learning_rate=0.01)
    posterior = optimizer if optimizer == "adam" else "auto"
    run = score(quick(tmp_path, recipe=recipe, sensitivity=posterior, **BUT_SENSITIVITY))
    assert run.manifest.details["sensitivity"]["posterior"] == optimizer
    assert np.isfinite(run.examples[["sensitivity", "loo_loss"]]).all(axis=None)


def test_where_there_are_no_sensitivities_the_run_says_why(tmp_path):
    off = score(quick(tmp_path, out=tmp_path / "off", **ONLY_INFORMATION))
    assert "turned off" in off.manifest.details["sensitivity"]["skipped"]
    assert "sensitivity" not in off.examples.columns
    adam = Recipe(epochs=1, weight_decay=0.0, optimizer="adam")
    free = score(quick(tmp_path, out=tmp_path / "free", recipe=adam, **BUT_SENSITIVITY))
    assert "this weight decay is zero" in free.manifest.details["sensitivity"]["skipped"]
    with pytest.raises(InputError, match="this run trains by sgd"):
        score(quick(tmp_path, sensitivity="adam", **BUT_SENSITIVITY))
    large = score(quick(tmp_path, out=tmp_path / "head", sensitivity="full", hidden=(8,), **BUT_SENSITIVITY))
    assert large.manifest.details["sensitivity"]["posterior"] == "full"


def test_influence_functions_of_the_demo_agree_with_each_other(demo_run):
    effects, examples = demo_run.effects("influence"), demo_run.examples
    assert effects.shape == (2000, 1000)
    assert np.isfinite(effects[:]).all()
    assert examples["self_influence"].ge(0).all()
    curves = demo_run.curves.query("curve == 'damping'")
    details = demo_run.manifest.details["self_influence"]
    default = curves[np.isclose(curves["x"], details["share_of_largest_eigenvalue"], rtol=1e-6)]
    assert len(default) == 2
    assert np.allclose(default["y"], 1)
    assert curves["y"].le(1 + 1e-6).all()
    assert details["route"].endswith("mean over the weights after epochs 2, 5, 10 and 20")
    assert 0.005 <= details["share_of_largest_eigenvalue"] <= 0.07
    assert "kept_energy" not in details
    changed = (examples["original_label"] != examples["label_name"]).to_numpy()
    areas = [roc_auc_score(changed, examples["self_influence"]), roc_auc_score(changed, -effects[:].mean(axis=1))]
    print("\nArea under the ROC curve of self-influence and of influence for 'label was changed':", np.round(areas, 3))
    assert areas[0] > 0.85
    assert areas[1] > 0.65


@pytest.mark.parametrize(("damping", "weight_decay"), [(None, 5e-4), (0.5, 5e-4), (None, 3.0)])
@pytest.mark.parametrize("epochs", [1, 12])
def test_influence_functions_of_a_run_are_those_along_its_training(tmp_path, damping, weight_decay, epochs):
    recipe = Recipe(epochs=epochs, weight_decay=weight_decay)
    run = score(quick(tmp_path, influence="on", hidden=(8,), recipe=recipe, damping=damping, **BUT_INFLUENCE))
    train_side, evaluation = digits_as_scored("train", "validation")
    trajectory = ac.train(ac.build_model("mlp", 10, (1, 8, 8), hidden=(8,)), train_side, recipe, record="checkpoints")
    steps = [trajectory.steps * epoch // epochs for epoch in ([1] if epochs == 1 else [2, 5, 10, 12])]
    found = ac.influence_along_training(trajectory, evaluation, steps=steps, damping=damping)
    assert np.allclose(
        run.effects("influence")[:], found.effect, rtol=1e-3, atol=1e-6 * float(found.effect.abs().max())
    )
    assert np.allclose(run.examples["self_influence"], found.self_influence, rtol=1e-3)
    details = run.manifest.details["self_influence"]
    assert details["damping"] == pytest.approx(sum(found.damping) / len(found.damping), rel=1e-3)
    assert details["damping"] >= weight_decay
    assert details["route"].endswith("after epoch 1" if epochs == 1 else "after epochs 2, 5, 10 and 12")
    _keep_their_effects(run)
    other = ac.influence_along_training(trajectory, evaluation, steps=steps, damping=3 * (damping or found.damping[0]))
    if damping is not None or epochs == 1:
        at = LiveInfluence.open(run).at(3.0)
        assert np.allclose(at.effects_of(5), other.effect[5], atol=0.01 * float(other.effect[5].abs().max()))


def _keep_their_effects(run: ac.Run) -> None:
    """Compare the effects that follow from what is kept, at the run's damping, with those of the run."""
    stored, live = run.effects("influence")[:], LiveInfluence.open(run).at(1.0)
    assert np.allclose(live.effects_of(5), stored[5], atol=0.01 * np.abs(stored[5]).max())
    assert np.allclose(live.effects_on(7), stored[:, 7], atol=0.01 * np.abs(stored[:, 7]).max())


@pytest.mark.parametrize(
    ("limit", "reason"), [("KEPT_EXAMPLES", "more than 100 training examples"), ("KEPT_BYTES", "more than 0 MiB")]
)
def test_too_much_is_not_kept(tmp_path, monkeypatch, limit, reason):
    monkeypatch.setattr(influence, limit, 100)
    run = score(quick(tmp_path, influence="on", hidden=(8,), **BUT_INFLUENCE))
    assert reason in run.manifest.details["any_damping"]["skipped"]
    assert run.effects("influence").shape[0] == 300
    with pytest.raises(InputError, match=reason):
        LiveInfluence.open(run)


def test_a_damaged_file_is_refused(tmp_path):
    run = score(quick(tmp_path, influence="on", hidden=(8,), **BUT_INFLUENCE))
    file = run.path / KEPT_INFLUENCE_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        LiveInfluence.open(run)
    file.unlink()
    with pytest.raises(InputError, match="score the data again"):
        LiveInfluence.open(run)


@pytest.mark.parametrize("damping", [None, 0.5])
def test_weights_that_were_given_are_taken_as_they_are(tmp_path, damping):
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(8,))
    ac.train(model, digits_as_scored("train")[0], Recipe(epochs=2))
    options = {"training": "none", "damping": damping, "hidden": ()}
    run = score(quick(tmp_path, influence="on", **options, **BUT_INFLUENCE), model)
    train_side, evaluation = digits_as_scored("train", "validation")
    details = run.manifest.details["self_influence"]
    assert details["route"].endswith("exact")
    assert "kept_energy" not in details
    expected = ac.influence_functions(model, train_side, evaluation, solver="exact", damping=damping)
    assert details["damping"] == pytest.approx(expected.damping[0], rel=1e-4)
    assert np.allclose(run.effects("influence")[:], expected.effect, rtol=1e-3, atol=1e-7)
    own = ac.self_influence(model, train_side, solver="exact", damping=damping)
    assert np.allclose(run.examples["self_influence"], own.effect, rtol=1e-3, atol=1e-9)
    _keep_their_effects(run)


def test_where_there_are_no_influence_functions_the_run_says_why(tmp_path, monkeypatch):
    off = score(quick(tmp_path, out=tmp_path / "off", **ONLY_INFORMATION))
    assert "turned off" in off.manifest.details["self_influence"]["skipped"]
    assert "self_influence" not in off.examples.columns
    at_once = {"recipe": Recipe(epochs=0), "influence": "on"}
    untrained = score(quick(tmp_path, out=tmp_path / "untrained", **at_once, **BUT_INFLUENCE))
    assert untrained.manifest.details["self_influence"] == {"skipped": "the model was not trained"}

    def refused(*_, **__):
        raise InputError("not this model")

    monkeypatch.setattr(influence, "influence_along_training", refused)
    auto = score(quick(tmp_path, out=tmp_path / "auto", **BUT_INFLUENCE))
    assert auto.manifest.details["self_influence"] == {"skipped": "not this model"}
    assert auto.status == "complete"
    with pytest.raises(InputError, match="not this model"):
        score(quick(tmp_path, influence="on", **BUT_INFLUENCE))
    monkeypatch.setattr(influence, "MOST_PARAMETERS", 100)
    large = score(quick(tmp_path, out=tmp_path / "large", **BUT_INFLUENCE))
    assert "parameters, with which they would take long" in large.manifest.details["self_influence"]["skipped"]


@pytest.mark.parametrize("damping", [0.0, -1.0, math.inf])
def test_a_damping_that_is_none_is_refused(tmp_path, damping):
    with pytest.raises(ValidationError, match="damping"):
        quick(tmp_path, damping=damping)


def test_states_are_kept_after_few_epochs():
    assert kept_epochs(0) == []
    assert kept_epochs(1) == [1]
    assert kept_epochs(20) == [1, 2, 5, 10, 20]
    assert kept_epochs(120) == [1, 2, 5, 10, 20, 50, 100, 120]


def test_where_training_cannot_be_followed_the_run_says_why(tmp_path):
    untrained = score(quick(tmp_path, out=tmp_path / "untrained", recipe=Recipe(epochs=0)))
    assert untrained.manifest.details["contribution"] == {"skipped": "the model was not trained"}
    assert untrained.status == "complete"
    off = score(quick(tmp_path, out=tmp_path / "off", **BUT_INFLUENCE))
    assert "turned off" in off.manifest.details["contribution"]["skipped"]
    assert "contribution" not in off.examples.columns
    assert set(off.class_effects["method"]) == {"ntk", "influence"}
    with pytest.raises(InputError, match="Hessian-free contributions need SGD"):
        score(quick(tmp_path, recipe=Recipe(epochs=1, optimizer="adam"), contributions="free"))
    assert not (tmp_path / "run").exists()


def test_training_that_cannot_be_repeated_is_reported(tmp_path):
    def cut_off(name, contributions):
        """A run whose last stage is still to do, and whose recorded end another machine would not meet."""
        config = quick(tmp_path, out=tmp_path / name, contributions=contributions, sensitivity="off", influence="off")
        score(config)
        file = tmp_path / name / "model" / "final.safetensors"
        weights = load_file(file)
        next(iter(weights.values())).add_(1e-3)
        save_file(weights, file)
        manifest = tmp_path / name / "run.json"
        plain = json.loads(manifest.read_text())
        plain["stages"]["contributions"]["status"] = "running"
        manifest.write_text(json.dumps(plain))
        return config

    run = score(cut_off("auto", "auto"))
    assert "did not end at the recorded weights" in run.manifest.details["contribution"]["skipped"]
    with pytest.raises(InputError, match="did not end at the recorded weights"):
        score(cut_off("free", "free"))


def test_every_method_of_the_demo_says_what_classes_do_to_each_other(demo_run):
    assert demo_run.effect_methods == ["ntk", "hydra", "influence"]
    assert set(demo_run.class_effects["method"]) == set(demo_run.class_pairs["method"]) == {*demo_run.effect_methods}
    train, evaluation = (table["label_name"].to_numpy() for table in (demo_run.examples, demo_run.evaluation))
    for method in demo_run.effect_methods:
        effects = demo_run.effects(method)[:]
        cell = effects[np.ix_(train == "Coat", evaluation[:1000] == "Shirt")]
        rows = f"method == '{method}' and train_class == 'Coat' and evaluation_class == 'Shirt'"
        assert demo_run.class_effects.query(rows)["effect"].item() == pytest.approx(cell.mean(), rel=1e-4)
        pairs = demo_run.class_pairs.query(rows)
        assert pairs["effect"].max() == cell.max()
        assert pairs["effect"].min() == cell.min()
        assert (pairs["effect"] > 0).sum() == (pairs["effect"] < 0).sum() == 8
        listed = demo_run.class_pairs.query(f"method == '{method}'")
        assert np.array_equal(effects[listed["train_row"], listed["evaluation_row"]], listed["effect"])
        assert (train[listed["train_row"]] == listed["train_class"]).all()
        assert (evaluation[listed["evaluation_row"]] == listed["evaluation_class"]).all()


def test_near_duplicates_are_found_in_the_trained_networks_embedding(tmp_path):
    run = score(quick(tmp_path, **ONLY_INFORMATION))
    train_side, _ = digits_as_scored("train", "validation")
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,))
    model.load_state_dict(load_file(run.path / "model" / "final.safetensors"))
    found = ac.near_duplicates(head_inputs(model, train_side[0]))
    assert np.allclose(run.examples["nearest_similarity"], found.nearest_similarity, atol=1e-6)
    assert len(run.near_duplicates) == found.count == run.manifest.details["nearest_similarity"]["near_duplicates"]
    labels = run.examples.set_index("id")["label"]
    for pair in run.near_duplicates.itertuples():
        assert pair.same_label == (labels[pair.id] == labels[pair.other])
    leaks = LEAKS.read(run.path)
    trained, held_out = (np.asarray(run.embeddings(split)) for split in ("train", "evaluation"))
    pairs = trained[leaks["train_row"].astype(int)], held_out[leaks["row"].astype(int)]
    lengths = [np.linalg.norm(each, axis=1) for each in pairs]
    assert np.allclose((pairs[0] * pairs[1]).sum(axis=1) / np.prod(lengths, axis=0), leaks["similarity"], atol=1e-5)
    assert (run.evaluation["split"].to_numpy()[leaks["row"].astype(int)] == leaks["split"]).all()


def test_the_demo_says_how_soon_each_score_finds_the_changed_labels(demo_run):
    examples = demo_run.examples
    changed = (examples["original_label"] != examples["label_name"]).to_numpy()
    rows = demo_run.manifest.details["detection"]["scores"]
    for name in ("fsi", "loss"):
        assert rows[name]["auc"] == pytest.approx(roc_auc_score(changed, examples[name]))
    first = examples["fsi"].nlargest(100).index
    assert rows["fsi"]["5%"] == pytest.approx(changed[first].sum() / 100)
    curve = demo_run.curves[demo_run.curves["curve"] == "detection"]
    assert {"fsi", "random order", "clusters"} <= set(curve["series"])
    print("\nArea under the detection curve:", {name: round(row["area"], 4) for name, row in rows.items()})
