"""Training again without some examples: the truth that every score is measured against.

Processes that share the work have one thread each, so that a training's result does not depend on how many they are,
nor on a command having been stopped between two trainings: the effect of one example is a small difference of two
trainings, and rounding alone, amplified by training, can be as large. (The number of threads of the calling process is
never touched: see :mod:`attribution_core.methods.linalg.solving` for what comes of that.)
"""

import hashlib
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import parent_process
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

# Outputs are kept on so many evaluation examples; losses on all.
KEPT_OUTPUTS = 200


class Removal(NamedTuple):
    """One training that is asked for.

    Attributes:
        removed: The examples that it lacks; none for training on everything.
        seed: Of the initial weights and the order of batches.
        keeps_places: See :func:`retrain_without`.
    """

    removed: tuple[int, ...]
    seed: int
    keeps_places: bool


@dataclass(frozen=True)
class Retrained:
    """What trainings without groups of examples came to.

    Attributes:
        losses: On each evaluation example, ``[groups, seeds, m]``.
        accuracy: On the evaluation examples, ``[groups, seeds]``; R² where targets are single values, NaN where they
            are several.
        outputs: On the first ``KEPT_OUTPUTS`` evaluation examples, ``[groups, seeds, m', k]``.
        own_outputs: On the removed examples themselves, ``[removed, k]`` for each group and seed; on every training
            example where none was removed. Empty where places were not kept.
        seconds: Of each training, ``[groups, seeds]``.
    """

    losses: Tensor
    accuracy: Tensor
    outputs: Tensor
    own_outputs: list[list[Tensor]]
    seconds: Tensor


@dataclass(frozen=True)
class Trainer:
    """What all the trainings have in common. Travels to other processes."""

    build: Callable[[int], nn.Module]
    data: tuple[Tensor, Tensor]
    evaluation: tuple[Tensor, Tensor]
    recipe: Recipe
    start: StateDict | None

    def __call__(
        self,
        asked: Removal,
    ) -> Retraining:
        """Trains once."""
        began = time.perf_counter()
        inputs, targets = self.data
        gone = torch.zeros(len(inputs), dtype=torch.bool)
        gone[list(asked.removed)] = True
        model = self.build(asked.seed)
        if self.start is not None:
            model.load_state_dict(self.start)
        recipe = self.recipe.model_copy(update={"seed": asked.seed})
        if asked.keeps_places:
            train(model, self.data, recipe, sample_weights=(~gone).double())
        else:
            train(model, (inputs[~gone], targets[~gone]), recipe)
        outputs = outputs_of(model, self.evaluation[0]).cpu()
        losses = loss_values(outputs, self.evaluation[1].cpu(), recipe.loss)
        own = inputs[gone] if asked.removed else inputs
        own_outputs = outputs_of(model, own).cpu() if asked.keeps_places else outputs[:0]
        return Retraining(
            tuple(sorted(asked.removed)),
            asked.seed,
            asked.keeps_places,
            losses.float().numpy(),
            accuracy(outputs, self.evaluation[1].cpu(), recipe.loss),
            outputs[:KEPT_OUTPUTS].float().numpy(),
            own_outputs.float().numpy(),
            round(time.perf_counter() - began, 3),
        )

    def fingerprint(self) -> str:
        """Of what decides the results, so that kept ones are not taken for others."""
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
    kept_in: Path | None = None,
) -> Retrained:
    """Train again without each group of examples, really.

    Args:
        build: A model with fresh weights from a seed. To be sent to other processes it must be picklable: a function at
            the top of a module, or ``functools.partial`` of one, not a lambda.
        data: Training examples.
        removals: The groups to remove, one after another; ``[]`` is training on everything, one index a single example.
        recipe: Of each training; its seed is replaced.
        evaluation: Examples on which losses are taken.
        seeds: How many trainings for each group, from other weights and in another order; or their seeds.
        start: Train on from these weights (warm) instead of fresh ones (cold).
        keeps_places: Removed examples keep their places in the batches, whose means stay divided by the batch size: all
            else is as in training on everything with that seed, so the difference of the two is the removal alone. If
            not, the dataset is smaller and its epochs shorter, as for a half of the data.
        processes: How many others, of one thread each, train side by side; 0: this one trains, with its own threads.
        kept_in: A Parquet file that takes each training as it ends, so that a call that was stopped goes on where it
            was, also with more removals or seeds.

    Returns:
        Losses and outputs after each training.

    Raises:
        InputError: An example that does not exist or is named twice, everything removed, a ``build`` that cannot be
            sent to other processes, or a file that holds retrainings of another problem.
    """
    pair = as_pair(data)
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    groups = [_checked(group, len(pair[0])) for group in removals]
    asked = [Removal(group, seed, keeps_places) for group in groups for seed in numbers]
    trainer = Trainer(build, pair, as_pair(evaluation), recipe, start)
    done = retrainings(trainer, asked, processes, kept_in)
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
    asked: Sequence[Removal],
    processes: int = 0,
    kept_in: Path | None = None,
) -> dict[Removal, Retraining]:
    """The trainings asked for, of which those in the file ``kept_in`` are not done again.

    Arguments and errors are those of :func:`retrain_without`.
    """
    table = RetrainingTable(kept_in, trainer.fingerprint() if kept_in else "")
    done = {Removal(row.removed, row.seed, row.keeps_places): row for row in table.rows}
    missing = [each for each in dict.fromkeys(asked) if each not in done]
    total = len(set(asked))
    finished = _side_by_side(trainer, missing, processes) if processes and missing else _one_by_one(trainer, missing)
    for count, row in enumerate(finished, start=total - len(missing) + 1):
        table.add(row)
        done[Removal(row.removed, row.seed, row.keeps_places)] = row
        report(count, total, "retraining")
    return done


def random_halves(examples: int, count: int, seed: int = 0) -> Tensor:
    """Which examples are kept in each of ``count`` random halves, bool ``[count, examples]``.

    More of them begin with the same ones.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(count, examples, dtype=torch.bool)
    for row in kept:
        row[torch.randperm(examples, generator=generator)[: examples // 2]] = True
    return kept


def accuracy(outputs: Tensor, targets: Tensor, loss: str) -> float:
    """Share of the classes ``[n]`` that outputs ``[n, k]`` get right; R² of values ``[n]``, NaN of ``[n, k]``.

    One output tells 0 from 1 at 1/2 for squared errors, at 0 for logits. R² is one minus the mean squared error over
    the variance of these values: the share of it that the outputs explain.
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
        raise InputError(f"A group to remove names each of its examples in 0..{examples - 1} once, not {list(group)}.")
    if len(found) == examples:
        raise InputError(f"All {examples} examples would be removed: leave at least one.")
    return found


def _one_by_one(trainer: Trainer, asked: Sequence[Removal]) -> Iterator[Retraining]:
    for each in asked:
        with silenced():
            trained = trainer(each)
        yield trained


# -- side by side ----------------------------------------------------------------------------------------------------


def _side_by_side(trainer: Trainer, asked: Sequence[Removal], processes: int) -> Iterator[Retraining]:
    try:
        pickle.dumps(trainer.build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            "A model's build function must be picklable to be sent to other processes, which a lambda or a local "
            "function is not: give functools.partial of a function at the top of a module, or processes=0."
        ) from error
    context = mp.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(processes, len(asked)), context, _start_worker, (trainer, stop))
    try:
        futures = [pool.submit(_work, each) for each in asked]
        for future in as_completed(futures):
            yield future.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker(NamedTuple):
    trainer: Trainer
    stop: Event


_worker: list[_Worker] = []


def _start_worker(trainer: Trainer, stop: Event) -> None:
    """In a process of its own, which ends with its parent, whatever ends that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and says so
    torch.set_num_threads(1)
    _worker[:] = [_Worker(trainer, stop)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(asked: Removal) -> Retraining:
    trainer, stop = _worker[0]

    def unless_stopped(*_: object) -> None:
        if stop.is_set():
            raise Cancelled

    with listening(unless_stopped):
        return trainer(asked)
