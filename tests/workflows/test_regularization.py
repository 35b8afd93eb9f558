"""The weight decay of least leave-one-out loss: what scoring with each would say, kept and resumed."""

import time

import numpy as np
import pandas as pd
import pytest

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.jobs.jobs import find_job, start_job
from attribution_core.jobs.requests import JobRequest
from attribution_core.runs import RunWriter
from attribution_core.runs.regularization import (
    Regularization,
    read_regularization,
    weight_decays_to_try,
    why_no_regularization,
)
from attribution_core.runs.tables import curve_points
from attribution_core.training import Recipe
from attribution_core.workflows import regularization
from attribution_core.workflows.regularization import choose_regularization
from tests.support.scored import copy_to_change, quick

OWN, OTHER = 5e-4, 0.1
LEAN = {"contributions": "off", "influence": "off", "max_train": 120}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return ac.score(quick(tmp_path_factory.mktemp("regularization"), **LEAN))


@pytest.fixture
def run(scored, tmp_path):
    return copy_to_change(scored, tmp_path)


def losses_of(run: ac.Run) -> dict[str, float]:
    """What scoring says at the end of training."""
    curve = run.curves.query("curve == 'loo_nll'").pivot(index="x", columns="series", values="y").iloc[-1]
    validation, test = (run.manifest.metrics[f"{split}_loss"] for split in ("validation", "test"))
    return {"leave_one_out": curve["loo_nll"], "training": curve["training"], "validation": validation, "test": test}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_losses_are_those_of_runs_that_were_scored_with_each_weight_decay(tmp_path, optimizer):
    recipe = Recipe(optimizer=optimizer, epochs=2)
    posterior = "adam" if optimizer == "adam" else "auto"
    runs = {
        decay: ac.score(
            quick(
                tmp_path,
                out=tmp_path / f"run {decay}",
                recipe=Recipe(**{**recipe.model_dump(exclude_unset=True), "weight_decay": decay}),
                sensitivity=posterior,
                **LEAN,
            )
        )
        for decay in (OWN, OTHER)
    }
    found = choose_regularization(runs[OWN].path, [OTHER, OWN])
    assert found.losses.index.tolist() == [OWN, OTHER]
    for decay, run in runs.items():
        expected = losses_of(run)
        for name, value in expected.items():
            assert found.losses.loc[decay, name] == pytest.approx(value, rel=1e-4)
    assert found.best == min(runs, key=lambda decay: losses_of(runs[decay])["leave_one_out"])
    assert ac.Run.open(runs[OWN].path).manifest.details["regularization"]["posterior"] == (
        "adam" if optimizer == "adam" else "kfac"
    )


def test_what_is_done_is_kept_and_not_done_again(run, monkeypatch):
    trained = []

    def counted(model, data, recipe, *others, **options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(recipe.weight_decay)
        return original(model, data, recipe, *others, **options)

    original = regularization.trained_losses
    monkeypatch.setattr(regularization, "trained_losses", counted)
    values = [1e-3, 1e-2, 1e-1]
    with pytest.raises(KeyboardInterrupt):
        choose_regularization(run.path, values)
    kept = read_regularization(ac.Run.open(run.path)).losses
    assert kept.index.tolist() == [1e-3, 1e-2]
    trained.clear()
    found = choose_regularization(run.path, values)
    assert trained == [1e-1]
    assert found.losses.loc[kept.index].equals(kept)
    trained.clear()
    choose_regularization(run.path, values)
    assert trained == []


def made(losses: list[float], own: float = OWN) -> Regularization:
    decays = [1e-4, OWN, 1e-2]
    return Regularization(pd.DataFrame({"leave_one_out": losses, "test": 1.0}, index=decays), own)


@pytest.mark.parametrize(
    ("losses", "end", "says"),
    [
        ([3.0, 1.0, 2.0], False, "is least at weight decay 0.0005, which the run used."),
        ([1.0, 2.0, 3.0], True, "0.0001, at the end of what was tried (the run used 0.0005): try values beyond it."),
        ([1.0, 1.005, 3.0], False, "0.0001, but at 0.0005, which the run used, it is within 1% of that: keep it."),
        ([3.0, 2.0, 1.0], True, "0.01, at the end of what was tried (the run used 0.0005): try values beyond it."),
    ],
)
def test_the_sentence_says_what_to_do(losses, end, says):
    found = made(losses)
    assert found.is_at_end == end
    assert says in found.sentence


def test_another_weight_decay_is_named_with_its_option():
    assert made([3.0, 1.0, 2.0], own=1e-4).sentence.endswith(
        "0.0005 (the run used 0.0001): score again with --train-weight-decay 0.0005."
    )


def write_losses(run: ac.Run, losses: dict[float, float]) -> ac.Run:
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        series = {name: np.array(list(losses.values())) for name in ("leave_one_out", "test")}
        writer.write_curve("regularization", curve_points(list(losses), series))
    return ac.Run.open(run.path)


def test_weight_decays_surround_the_runs_own_and_then_the_best(run):
    first = weight_decays_to_try(run)
    assert first == [5e-6, 1.6e-5, 5e-5, 1.6e-4, 5e-4, 1.6e-3, 5e-3, 1.6e-2, 5e-2]
    inside = write_losses(run, {decay: abs(np.log(decay / 5e-3)) for decay in first})
    assert weight_decays_to_try(inside) == first
    flat = write_losses(run, {decay: 1 + decay for decay in first})  # it falls on by less than noise
    assert weight_decays_to_try(flat) == first
    above = write_losses(run, {decay: 1 / decay for decay in first})
    assert weight_decays_to_try(above) == [*first, 0.16, 0.5, 1.6, 5.0]
    below = write_losses(run, dict(zip(first, range(1, 10), strict=True)))
    assert weight_decays_to_try(below) == [5e-8, 1.6e-7, 5e-7, 1.6e-6, *first]


def test_what_has_no_weight_decay_to_choose_is_refused(run):
    given = run.manifest.config

    def with_config(**changes) -> ac.Run:
        manifest = run.manifest.model_copy(update={"config": {**given, **changes}})
        (run.path / "run.json").write_text(manifest.model_dump_json())
        return ac.Run.open(run.path)

    for config, why in (
        ({"trainable": "head", "training": "fine-tune"}, "trains the head of a frozen network"),
        ({"training": "none"}, "scored weights as they were given"),
        ({"recipe": None}, "does not record how its model was trained"),
    ):
        changed = with_config(**config)
        assert why in why_no_regularization(changed)
        with pytest.raises(InputError, match=why):
            choose_regularization(changed.path)
    assert why_no_regularization(with_config()) == ""
    for value in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="must be positive"):
            choose_regularization(run.path, [value])
        with pytest.raises(InputError):
            JobRequest.checked("regularization", "run", {"values": [value]}, "")
    with pytest.raises(InputError, match="learning rate below"):
        choose_regularization(run.path, [1e4])


def test_from_the_command_line_and_as_a_job(run, capsys):
    assert main(["regularization", str(run.path), "0.001", "0.1", "0.0005"]) == 0
    printed = capsys.readouterr().out
    assert "the run's" in printed
    assert "Leave-one-out loss is least at weight decay" in printed
    start_job(run.path.parent, "regularization", {"values": [0.001, 0.01]}, run.id)
    until = time.monotonic() + 120
    while (job := find_job(run.path.parent, "regularization", run.id)).status == "running":
        assert time.monotonic() < until, job.log_tail()
        time.sleep(0.1)
    assert job.status == "done", job.log_tail()
    assert read_regularization(ac.Run.open(run.path)).losses.index.tolist() == [5e-4, 1e-3, 1e-2, 1e-1]
