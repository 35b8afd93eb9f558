"""Retrain without some examples: the truth that every score is measured against.

Processes that share the work use one thread each, so the result of a training depends neither on their number nor on a
command having been stopped between two trainings: the effect of one example is a small difference between two
trainings, and rounding alone, amplified by training, can be as large. (The number of threads of the calling process is
never changed; :mod:`attribution_core.methods.linalg.solving` explains why.)
"""

import hashlib
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch import multiprocessing as mp

from attribution_core.errors import InputError
from attribution_core.models.weights import StateDict
from attribution_core.progress import Cancelled, listening, report, silenced
from attribution_core.runs.retraining import Retraining, RetrainingTable
from attribution_core.training import Recipe, as_pair, loss_values, outputs_of, train
from attribution_core.training.trainer import LabeledData, state_of

# Number of evaluation examples whose outputs are kept; losses are kept for all.
KEPT_OUTPUTS = 200


class Removal(NamedTuple):
    """Describe one training to run.

    Attributes:
        removed: Examples to remove; none for training on everything.
        seed: Seed of the initial weights and the order of batches.
        keeps_places: Whether removed examples keep their places in the batches; see :func:`retrain_without`.
    """

    removed: tuple[int, ...]
    seed: int
    keeps_places: bool


@dataclass(frozen=True)
class Retrained:
    """Hold the results of trainings without groups of examples.

    Attributes:
        losses: Losses on each evaluation example, ``[groups, seeds, m]``.
        accuracy: Accuracy on the evaluation examples, ``[groups, seeds]``; R² for single values as targets, NaN for
            several.
        outputs: Outputs on the first ``KEPT_OUTPUTS`` evaluation examples, ``[groups, seeds, m', k]``.
        own_outputs: Outputs on the removed examples themselves, ``[removed, k]`` for each group and seed; on every
            training example if none was removed. Empty if removed examples do not keep their places.
        seconds: Time of each training in seconds, ``[groups, seeds]``.
    """

    losses: Tensor
    accuracy: Tensor
    outputs: Tensor
    own_outputs: list[list[Tensor]]
    seconds: Tensor


@dataclass(frozen=True)
class Trainer:
    """Hold what all trainings have in common; it can be sent to other processes."""

    build: Callable[[int], nn.Module]
    data: tuple[Tensor, Tensor]
    evaluation: tuple[Tensor, Tensor]
    recipe: Recipe
    start: StateDict | None

    def __call__(self, removal: Removal) -> Retraining:
        """Train once without the removed examples."""
        began = time.perf_counter()
        inputs, targets = self.data
        gone = torch.zeros(len(inputs), dtype=torch.bool)
        gone[list(removal.removed)] = True
        model = self.build(removal.seed)
        if self.start is not None:
            model.load_state_dict(self.start)
        recipe = self.recipe.model_copy(update={"seed": removal.seed})
        if removal.keeps_places:
            train(model, self.data, recipe, sample_weights=(~gone).double(), validation=self.evaluation)
        else:
            train(model, (inputs[~gone], targets[~gone]), recipe, validation=self.evaluation)
        outputs = outputs_of(model, self.evaluation[0]).cpu()
        losses = loss_values(outputs, self.evaluation[1].cpu(), recipe.loss)
        own = inputs[gone] if removal.removed else inputs
        own_outputs = outputs_of(model, own).cpu() if removal.keeps_places else outputs[:0]
        return Retraining(
            tuple(sorted(removal.removed)),
            removal.seed,
            removal.keeps_places,
            losses.float().numpy(),
            accuracy(outputs, self.evaluation[1].cpu(), recipe.loss),
            outputs[:KEPT_OUTPUTS].float().numpy(),
            own_outputs.float().numpy(),
            round(time.perf_counter() - began, 3),
        )

    def fingerprint(self) -> str:
        """Return a hash of everything that determines the results, so that stored ones are not mistaken for others."""
        digest = hashlib.sha256(self.recipe.model_copy(update={"seed": 0}).model_dump_json().encode())
        state = self.start or state_of(self.build(0))
        for tensor in (*self.data, *self.evaluation, *state.values()):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def retrain_without(
    build: Callable[[int], nn.Module],
    data: LabeledData,
    removals: Sequence[Sequence[int]],
    recipe: Recipe,
    evaluation: LabeledData,
    seeds: int | Sequence[int] = 1,
    start: StateDict | None = None,
    keeps_places: bool = True,
    processes: int = 0,
    results_file: Path | None = None,
) -> Retrained:
    """Retrain without each group of examples.

    Args:
        build: Function from a seed to a model with fresh weights. To be sent to other processes it must be picklable: a
            function at the top of a module, or ``functools.partial`` of one, not a lambda.
        data: Training examples.
        removals: Groups to remove, one after another; ``[]`` trains on everything, one index removes a single example.
        recipe: Recipe of each training; its seed is replaced.
        evaluation: Examples to compute losses on.
        seeds: Number of trainings for each group, each from other weights and in another order; or their seeds.
        start: Weights to continue training from (warm) instead of fresh ones (cold).
        keeps_places: Whether removed examples keep their places in the batches, whose means are still divided by the
            batch size. Everything else is then as in training on everything with the same seed, so the difference of
            the two is the removal alone. Otherwise the dataset is smaller and its epochs shorter, as for half the data.
        processes: Number of processes that train in parallel, with one thread each; 0 trains in this process, with its
            own threads.
        results_file: Parquet file that stores each training as it ends, so that a stopped call resumes where it was,
            also with more removals or seeds.

    Returns:
        Losses and outputs after each training.

    Raises:
        InputError: An example does not exist or is named twice, a group is everything, ``build`` cannot be sent to
            other processes, or the file holds retrainings of another problem.
    """
    pair = as_pair(data)
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    groups = [_checked(group, len(pair[0])) for group in removals]
    wanted = [Removal(group, seed, keeps_places) for group in groups for seed in numbers]
    trainer = Trainer(build, pair, as_pair(evaluation), recipe, start)
    done = retrainings(trainer, wanted, processes, results_file)
    rows = [[done[Removal(group, seed, keeps_places)] for seed in numbers] for group in groups]
    return Retrained(
        torch.from_numpy(np.array([[each.losses for each in row] for row in rows])),
        torch.tensor([[each.accuracy for each in row] for row in rows]),
        torch.from_numpy(np.array([[each.outputs for each in row] for row in rows])),
        [[torch.from_numpy(each.own_outputs) for each in row] for row in rows],
        torch.tensor([[each.seconds for each in row] for row in rows]),
    )


def retrainings(
    trainer: Trainer,
    removals: Sequence[Removal],
    processes: int = 0,
    results_file: Path | None = None,
) -> dict[Removal, Retraining]:
    """Train without each of the removals, except those whose results are already in ``results_file``.

    Arguments and errors are those of :func:`retrain_without`.
    """
    table = RetrainingTable(results_file, trainer.fingerprint() if results_file else "")
    done = {Removal(row.removed, row.seed, row.keeps_places): row for row in table.rows}
    missing = [each for each in dict.fromkeys(removals) if each not in done]
    total = len(set(removals))
    finished = _in_parallel(trainer, missing, processes) if processes and missing else _one_by_one(trainer, missing)
    for count, row in enumerate(finished, start=total - len(missing) + 1):
        table.add(row)
        done[Removal(row.removed, row.seed, row.keeps_places)] = row
        report(count, total, "retraining")
    return done


def random_halves(examples: int, count: int, seed: int = 0) -> Tensor:
    """Draw ``count`` random halves: which examples each keeps, bool ``[count, examples]``.

    A larger ``count`` starts with the same halves.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(count, examples, dtype=torch.bool)
    for row in kept:
        row[torch.randperm(examples, generator=generator)[: examples // 2]] = True
    return kept


def accuracy(outputs: Tensor, targets: Tensor, loss: str) -> float:
    """Return the share of classes ``[n]`` that outputs ``[n, k]`` get right; R² for values ``[n]``, NaN for ``[n, k]``.

    A single output is class 1 above 1/2 for squared errors, and above 0 for logits. R² is one minus the mean squared
    error over the variance of the values, the share of the variance that the outputs explain.
    """
    if targets.ndim > 1:
        return math.nan
    if targets.is_floating_point():
        values = targets.double()
        return 1 - float((outputs[:, 0].double() - values).square().mean() / values.var(correction=0))
    between = 0.5 if loss == "mse" else 0.0
    guesses = outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > between).long()
    return float((guesses == targets).double().mean())


def _checked(group: Sequence[int], examples: int) -> tuple[int, ...]:
    found = tuple(sorted(int(i) for i in group))
    if len(set(found)) < len(found) or (found and not 0 <= found[0] <= found[-1] < examples):
        raise InputError(
            f"A group to remove must name each of its examples in 0..{examples - 1} once, but it is {list(group)}."
        )
    if len(found) == examples:
        raise InputError(f"A removal must leave at least one example, but it names all {examples}.")
    return found


def _one_by_one(trainer: Trainer, removals: Sequence[Removal]) -> Iterator[Retraining]:
    for each in removals:
        with silenced():
            trained = trainer(each)
        yield trained


# -- in parallel -------------------------------------------------------------------------------------------------------


def _in_parallel(trainer: Trainer, removals: Sequence[Removal], processes: int) -> Iterator[Retraining]:
    try:
        pickle.dumps(trainer.build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            "A build function must be picklable to be sent to other processes, which a lambda or a local function is "
            "not. Give functools.partial of a function at the top of a module, or processes=0."
        ) from error
    context = _context(trainer.recipe)
    stop = context.Event()
    pool = ProcessPoolExecutor(min(processes, len(removals)), context, _start_worker, (trainer, stop))
    try:
        futures = [pool.submit(_work, each) for each in removals]
        for future in as_completed(futures):
            yield future.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _context(recipe: Recipe) -> BaseContext:
    """Return how processes start: on Linux as copies of one that has imported what they need, elsewhere anew."""
    if sys.platform != "linux":
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    by_torch = recipe.optimizer != "sgd" or recipe.schedule == "plateau"  # whose optimizers import it, for seconds
    context.set_forkserver_preload([__name__, *(["torch._dynamo"] if by_torch else [])])
    return context


class _Worker(NamedTuple):
    trainer: Trainer
    stop: Event


_worker: list[_Worker] = []


def _start_worker(trainer: Trainer, stop: Event) -> None:
    """Set up a worker process, which exits with its parent however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and signals it
    torch.set_num_threads(1)
    _worker[:] = [_Worker(trainer, stop)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(removal: Removal) -> Retraining:
    trainer, stop = _worker[0]

    def unless_stopped(*_: object) -> None:
        if stop.is_set():
            raise Cancelled

    with listening(unless_stopped):
        return trainer(removal)
