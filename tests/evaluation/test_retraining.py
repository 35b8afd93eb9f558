"""Test retraining: what it trains, that it can be stopped, and that neither processes nor stops change the result."""

import functools

import numpy as np
import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.evaluation import retraining
from attribution_core.evaluation.retraining import random_halves, retrain_without
from attribution_core.methods.influence.proximal_bregman import train_without
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.runs.retraining import RetrainingTable
from attribution_core.training import Recipe, loss_values, outputs_of, train
from attribution_core.training.trainer import state_of

N, M = 24, 6
RECIPE = Recipe(batch_size=8, epochs=2, learning_rate=0.2)
BUILD = functools.partial(build_model, "mlp", 3, (5,), (4,))


def build(seed):
    return BUILD(seed=seed)


def side(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, generator=generator), torch.randint(3, (n,), generator=generator)


TRAIN, EVALUATION = side(N, 0), side(M, 1)
REMOVALS = [[], [3], [5, 1]]


def after(seed, data, weights=None):
    model = build(seed)
    train(model, data, RECIPE.model_copy(update={"seed": seed}), sample_weights=weights)
    outputs = outputs_of(model, EVALUATION[0])
    return model, outputs, loss_values(outputs, EVALUATION[1], "cross_entropy")


def test_places_are_kept_so_that_only_the_removal_differs():
    found = retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, seeds=2)
    assert found.losses.shape == (3, 2, M)
    assert found.outputs.shape == (3, 2, M, 3)
    weights = torch.ones(N)
    weights[[1, 5]] = 0
    model, outputs, losses = after(1, TRAIN, weights)
    assert torch.equal(found.losses[2, 1], losses)
    assert torch.equal(found.outputs[2, 1], outputs)
    assert torch.equal(found.own_outputs[2][1], outputs_of(model, TRAIN[0][[1, 5]]))
    assert found.own_outputs[0][0].shape == (N, 3)


def test_a_smaller_dataset_where_places_are_not_kept():
    halves = random_halves(N, 3)
    removed = [(~kept).nonzero()[:, 0].tolist() for kept in halves]
    found = retrain_without(build, TRAIN, removed, RECIPE, EVALUATION, seeds=[4], keeps_places=False)
    _, _, losses = after(4, (TRAIN[0][halves[2]], TRAIN[1][halves[2]]))
    assert torch.equal(found.losses[2, 0], losses)
    assert torch.equal(random_halves(N, 2), halves[:2])


def test_a_warm_start_begins_from_the_given_weights():
    start = state_of(after(0, TRAIN)[0])
    found = retrain_without(build, TRAIN, [[3]], RECIPE, EVALUATION, start=start)
    model = build(0)
    model.load_state_dict(train_without(model, TRAIN, 3, RECIPE, start))
    assert torch.equal(found.outputs[0, 0], outputs_of(model, EVALUATION[0]))


def test_processes_do_not_change_the_result(tmp_path):
    alone = retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, seeds=2, processes=1)
    seen = []
    with listening(lambda *now: seen.append(now)):
        together = retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, seeds=2, processes=2)
    assert torch.equal(together.losses, alone.losses)
    assert seen[-1] == (6, 6, "retraining")


def test_stored_trainings_are_not_repeated(tmp_path, monkeypatch):
    kept = tmp_path / "folder" / "retraining.parquet"
    seen = []
    first = retrain_without(build, TRAIN, REMOVALS[:2], RECIPE, EVALUATION, results_file=kept)
    with listening(lambda *now: seen.append(now)):
        more = retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, 2, results_file=kept)
    assert seen[0] == (3, 6, "retraining")
    assert torch.equal(more.losses[:2, 0], first.losses[:, 0])
    assert torch.equal(more.own_outputs[0][0], first.own_outputs[0][0])
    monkeypatch.setattr(retraining, "train", None)
    again = retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, 2, results_file=kept)
    assert torch.equal(again.losses, more.losses)


def test_a_failed_training_keeps_the_results_before_it(tmp_path, monkeypatch):
    kept = tmp_path / "retraining.parquet"
    real, calls = retraining.train, []

    def failing(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(retraining, "train", failing)
    with pytest.raises(KeyboardInterrupt):
        retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, results_file=kept)
    retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, results_file=kept)
    assert len(calls) == 4


def test_a_file_of_another_problem_is_refused(tmp_path):
    kept = tmp_path / "retraining.parquet"
    retrain_without(build, TRAIN, [[0]], RECIPE, EVALUATION, results_file=kept)
    other = RECIPE.model_copy(update={"epochs": 3})
    with pytest.raises(InputError, match="another problem"):
        retrain_without(build, TRAIN, [[0]], other, EVALUATION, results_file=kept)
    kept.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="damaged"):
        retrain_without(build, TRAIN, [[0]], RECIPE, EVALUATION, results_file=kept)


@pytest.mark.parametrize(
    ("removals", "message"),
    [([[N]], "0..23"), ([[1, 1]], "once"), ([[-1]], "0..23"), ([list(range(N))], "must leave at least one")],
)
def test_groups_are_checked(removals, message):
    with pytest.raises(InputError, match=message):
        retrain_without(build, TRAIN, removals, RECIPE, EVALUATION)


def test_a_lambda_cannot_be_sent_to_processes():
    with pytest.raises(InputError, match="picklable"):
        retrain_without(lambda seed: build(seed), TRAIN, REMOVALS, RECIPE, EVALUATION, processes=2)


def test_rows_are_read_back_unchanged(tmp_path):
    file = tmp_path / "retraining.parquet"
    retrain_without(build, TRAIN, REMOVALS, RECIPE, EVALUATION, results_file=file)
    fingerprint = retraining.Trainer(build, TRAIN, EVALUATION, RECIPE, None).fingerprint()
    rows = RetrainingTable(file, fingerprint).rows
    assert [row.removed for row in rows] == [(), (3,), (1, 5)]
    assert rows[1].outputs.dtype == np.float32
    assert rows[1].own_outputs.shape == (1, 3)
