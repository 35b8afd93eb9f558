"""Split work that does not fit into memory; a module that refuses many examples stands in for a small device."""

import math
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attribution_core.errors import InputError, is_out_of_memory, resource_error
from attribution_core.gradients import jacobian, plan_parameters
from attribution_core.memory import AdaptiveBatchSize, try_within_memory
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.online import HydraAccumulator
from attribution_core.scoring.score import score
from attribution_core.training import Recipe, outputs_of, train
from tests.support.scored import quick

RECIPE = Recipe(learning_rate=0.1, batch_size=8, epochs=3, weight_decay=0.01)
CLOSE = {"rtol": 1e-9, "atol": 1e-13}  # float64: sums in another order


class SmallDevice(nn.Sequential):
    """Runs out of memory with more than ``limit`` examples at a time, or ``recorded`` while factors are recorded."""

    limit = recorded = math.inf

    def forward(self, x):
        most = min(self.limit, self.recorded) if any(layer._forward_hooks for layer in self) else self.limit
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


def device(limit=math.inf, *layers, recorded=math.inf):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallDevice(nn.Linear(5, 6), nn.Tanh(), *layers, nn.Linear(6, 3)).double()
    model.limit, model.recorded = limit, recorded
    return model


class Scale(nn.Module):
    """A layer without factors, which goes through torch.func."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 6))

    def forward(self, x):
        return x * self.scale


def data(n=22):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 5, generator=generator, dtype=torch.float64), torch.randint(3, (n,), generator=generator)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# -- the helper -----------------------------------------------------------------------------------------------------


def test_the_size_is_halved_until_it_fits_and_stays_so():
    asked = []

    def work(where):
        asked.append(where.stop - where.start)
        if asked[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return where

    parts = AdaptiveBatchSize(16)
    assert [(where.start, where.stop) for where, _ in parts.map_slices(work, 8)] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert asked == [8, 4, 2, 2, 2, 2]
    assert parts.size == 2


def test_a_failed_attempt_is_released_before_the_next():
    made = []

    def work(size):
        assert all(tensor() is None for tensor in made)
        batch = torch.ones(size)
        made.append(weakref.ref(batch))
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch.sum()

    assert AdaptiveBatchSize(4).run(work, 4) == 1
    assert len(made) == 3


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: not enough memory: you tried", "CUDA error: out of memory"])
def test_every_out_of_memory_message_is_recognized(words):
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)  # four petabytes, which no machine has
    for error in (refused.value, MemoryError(), torch.OutOfMemoryError("any words"), RuntimeError(words)):
        assert is_out_of_memory(error)
        assert "not enough memory" in str(resource_error(error))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        try_within_memory(lambda: torch.ones(2, 3) @ torch.ones(2, 3))


# -- the work -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 5, 21])
def test_outputs(limit):
    inputs, _ = data()
    assert torch.allclose(outputs_of(device(limit), inputs), outputs_of(device(), inputs), **CLOSE)


def test_outputs_of_nothing():
    assert outputs_of(device(), data()[0][:0]).shape == (0, 3)


@pytest.mark.parametrize("layers", [(), (Scale(),)], ids=["factors", "torch.func"])
def test_jacobians(layers):
    inputs, _ = data()
    results = []
    for limit in (4, math.inf):
        model = device(limit, *layers)
        results.append(jacobian(model, inputs, plan_parameters(model, inputs)))
    for small, whole in zip(*results, strict=True):
        assert torch.allclose(small, whole, **CLOSE)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "iblr"])
@pytest.mark.parametrize("limit", [1, 5])
def test_training(optimizer, limit):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.01})
    sample_weights = torch.linspace(0, 2, 22, dtype=torch.float64)
    small, whole = device(limit), device()
    in_parts = train(small, data(), recipe, sample_weights=sample_weights)
    at_once = train(whole, data(), recipe, sample_weights=sample_weights)
    assert torch.allclose(weights(small), weights(whole), **CLOSE)
    assert in_parts.epoch_losses == pytest.approx(at_once.epoch_losses, rel=1e-9)
    assert set(at_once.part_sizes) == {8}
    assert set(in_parts.part_sizes) == {min(4, limit)}


def test_training_that_normalizes_by_its_batch_is_not_split():
    whole = device(math.inf, nn.BatchNorm1d(6))
    train(whole, data(), RECIPE)
    with pytest.raises(InputError, match=r"batch of 8 examples does not fit.*'2' \(BatchNorm1d\).*--batch-size"):
        train(device(7, nn.BatchNorm1d(6)), data(), RECIPE)
    small = device(8, nn.BatchNorm1d(6))
    train(small, data(), RECIPE)
    assert torch.equal(weights(small), weights(whole))


@pytest.mark.parametrize(
    "work",
    [
        lambda model: outputs_of(model, data()[0]),
        lambda model: train(model, data(), RECIPE),
    ],
    ids=["outputs", "training"],
)
def test_a_single_example_that_does_not_fit_is_reported(work):
    with pytest.raises(InputError, match=r"not enough memory for even one example.*smaller images"):
        work(device(0))


def test_a_jacobian_of_one_example_that_does_not_fit_is_reported():
    model = device()
    plan = plan_parameters(model, data()[0])
    model.limit = 0
    with pytest.raises(InputError, match="not enough memory for even one example"):
        jacobian(model, data()[0], plan)


# -- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"objective": "mean"}, {"objective": "class"}, {"hessian": True}, {"hessian": True, "objective": "mean"}],
    ids=str,
)
@pytest.mark.parametrize("small", [{"limit": 5}, {"recorded": 5}], ids=["trained in parts", "trained whole"])
def test_contributions(options, small):
    """The replay must reach the final weights of training, bit for bit."""
    evaluation = data(9)
    found = hydra(train(device(**small), data(), RECIPE), evaluation, **options)
    whole = hydra(train(device(), data(), RECIPE), evaluation, **options)
    assert torch.allclose(found.effect, whole.effect, rtol=1e-7, atol=1e-12)
    if whole.by_epoch is not None:
        assert torch.allclose(found.by_epoch, whole.by_epoch, rtol=1e-7, atol=1e-12)


def test_a_replay_with_less_memory_is_refused():
    trajectory = train(device(), data(), RECIPE)
    trajectory.model.limit = 5
    with pytest.raises(InputError, match=r"in batches of 8 does not fit into memory.*--batch-size"):
        hydra(trajectory, data(9))


def test_following_a_training_in_parts_is_refused():
    model, (inputs, labels) = device(), data()
    with HydraAccumulator(model, inputs, RECIPE) as accumulator:
        model.limit = 5
        with pytest.raises(InputError, match="with batches that fit into memory whole"):
            train(model, (inputs, labels), RECIPE, on_step=accumulator.step)


def test_a_run_on_a_small_device_is_the_same(tmp_path):
    def run(limit):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = SmallDevice(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10)).double()
        model.limit = limit
        options = {"training": "fine-tune", "max_train": 150, "influence": "on", "contributions": "exact", "hidden": ()}
        return score(quick(tmp_path, out=tmp_path / str(limit), **options), model=model)

    small, whole = run(5), run(math.inf)
    assert {"fsi", "si", "contribution", "sensitivity", "self_influence"} <= set(small.examples)
    pd.testing.assert_frame_equal(small.examples, whole.examples, rtol=1e-5)
    for method in ("ntk", "hydra", "influence"):
        one, other = (each.effects(method)[:] for each in (small, whole))
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_that_runs_out_of_memory_splits_the_work():
    """Activations of 1.5 GiB, with only 0.25 GiB available."""
    model = nn.Sequential(nn.Linear(8, 2**16), nn.ReLU(), nn.Linear(2**16, 2)).cuda()
    inputs = torch.randn(2048, 8)
    expected = outputs_of(model, inputs, batch_size=64)
    gpu = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**28) / gpu)
    try:
        assert torch.allclose(outputs_of(model, inputs, batch_size=2048), expected, rtol=1e-4, atol=1e-4)
        recipe = RECIPE.model_copy(update={"batch_size": 2048, "learning_rate": 1e-5})
        trajectory = train(model, (inputs, inputs[:, 0].gt(0).long()), recipe)
        assert set(trajectory.part_sizes) < set(range(1, 2048))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
