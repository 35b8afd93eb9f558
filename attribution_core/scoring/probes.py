"""What the stages of a run cost in time, measured on a few rows, for :mod:`attribution_core.scoring.estimate`.

Each stage's own code is run on a few rows, and its cost is that probe's, times what it grows with. With n training and
m validation examples, k outputs, and a linearised model of p features (a = 1 row of them for each example where the
head is linearised, else k):

- dataset: opening, as it was just measured; reading, three times, and thumbnails, both linear in the images;
- training: optimiser steps, and outputs on all examples;
- linearised: a Gram matrix and a rotation, ``4 n a p^2``, an eigendecomposition, ``p^3``, and passes over the training
  examples, linear in n: one for each score, training time and weight decay;
- contributions: a replay of all steps, each against the m validation examples;
- sensitivity: for each kept state a posterior and a pass, linear in n, and a constant part, the decompositions of the
  layers' Kronecker factors;
- influence: gradients of r rows, a Gram matrix ``2 r q^2`` of their q coordinates, and its decomposition, ``q^3``;
- neighbours: the similarities of all pairs, ``n^2``;
- map: a constant, for compiling UMAP, and a layout, linear in all examples.

Embeddings, classes and the detection of wrong labels take next to nothing.

Against real runs, in processor seconds on one thread, the total was 0.99 of theirs for the digits (28 s), 0.96 for the
demo (67 s) and 0.96 for 2,000 images of CIFAR-10 with cnn4 (8 min); stages of a second or more were within a factor of
1.4. Opening comes on top, which a run's own time for its dataset leaves out.

Memory is not measured: :mod:`attribution_core.scoring.memory_needed` has its formulas.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor

from attribution_core.gradients import jacobian, kronecker_plan, plan_parameters
from attribution_core.methods.analysis.embedding_map import MOST, is_compiled
from attribution_core.methods.analysis.near_duplicates import near_duplicates
from attribution_core.methods.curvature.losses import prediction_errors
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.influence.spectrum import DIMENSION, ROWS
from attribution_core.methods.linearized.kernel_studies import estimate_error
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.methods.sensitivity.perturbation import PosteriorName, memory_sensitivity, posterior_of
from attribution_core.methods.sensitivity.posteriors import DiagonalPosterior
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.prepare import Prepared
from attribution_core.progress import Cancelled, listening
from attribution_core.runs.thumbnails import encode_thumbnail
from attribution_core.scoring.memory_needed import MemoryNeeded
from attribution_core.scoring.recorded_training import kept_epochs
from attribution_core.scoring.stages.linearised import CURVE_EXAMPLES
from attribution_core.training import Trajectory, outputs_of, state_of, train

_SAMPLE = 192  # images that are read for the probes
_PASSED = 64  # rows of a linearised model that are passed over
_DECOMPOSED = 768  # side of the matrix whose decomposition is timed
_REPLAYED = 6  # steps
_EVALUATED = 1024  # evaluation examples that a replay is probed with
# The map alone is not probed, since UMAP compiles for seconds, and the first time on a machine for more: these were
# measured where this was written.
_MAP_SECONDS, _MAP_SECONDS_EACH, _FIRST_MAP_SECONDS = 5.0, 6e-4, 15.0
_TIMES = 9  # training times at which F-SI is kept, and influencers are counted
_DECAYS = 10  # weight decays, and one more, at which the classical estimate is compared
_GROUPS = 10  # of training examples that are removed together


class Probe:
    """Measures each stage on a few rows: its seconds.

    Args:
        prepared: What is to be run.
        sizes: Of the same.
    """

    def __init__(self, prepared: Prepared, sizes: MemoryNeeded) -> None:
        self.prepared, self.config, self.sizes = prepared, prepared.config, sizes
        self.n, self.m, self.tested, self.model = sizes.n, sizes.m, sizes.tested, sizes.model
        self.recipe = self.config.recipe.model_copy(update={"seed": self.config.seed})

    # -- the stages ------------------------------------------------------------------------------------------------

    def dataset(self, seconds_to_open: float) -> float:
        """Opening, which took so many seconds already, reading, and thumbnails."""
        images = self.n + self.m + self.tested
        return seconds_to_open + images * (self._seconds_to_read + self._seconds_for_thumbnail)

    def training(self) -> float:
        """Steps, the first of a process by itself, and outputs on all examples."""
        steps, batch = self.recipe.steps(self.n), min(self.recipe.batch_size, self.n)
        pair = self._rows(batch)
        first = _timed(lambda: self._train(pair, 1))  # loads what only a process's first step has to
        seconds = first + steps * self._seconds_for_step
        return seconds + (self.n + self.m + self.tested) * self._seconds_for_outputs

    def linearised(self) -> float:
        """One decomposition and many passes, over a model of made-up features."""
        rows, features = self.sizes.feature_rows
        p = min(self.n * rows, features)
        linear = self._made_up(rows, p)
        schedule = GradientDescent(1.0 / float(linear.eigenvalues[-1]), self.config.steps)
        each = {
            "fsi": _timed(lambda: functional_sample_information(linear, schedule), 2),
            "si": _timed(lambda: sample_information(linear, schedule)),
            "effects": _timed(lambda: linear.removal_effects(schedule)),
        }
        passes = _TIMES * each["fsi"] + each["si"] + each["effects"]
        decompositions = 1
        if rows == 1:
            fewer = linear.evaluated_on(slice(CURVE_EXAMPLES))
            passes += (_DECAYS + 1) * _timed(lambda: estimate_error(fewer, [1.0]))
            decompositions += _GROUPS if self.n // _GROUPS > p else 0
            if "original_label" in self.prepared.splits.train.groups:
                passes += _TIMES * _timed(lambda: fewer.removal_effects(schedule))
        products = 4 * self.n * rows * p * p + (2 * self.m * rows * p * p if self.m * rows > p else 0)
        seconds = passes * self.n / len(linear.features) + products / self._flops + decompositions * self._cubed * p**3
        if rows > 1:
            seconds += (self.n + self.m) * self._seconds_for_jacobian
        return seconds + (self.n + self.m) * self._seconds_for_outputs

    def contributions(self) -> float:
        """A replay, whose steps meet some evaluation examples here and all of them in the run."""
        evaluated = min(self.m, _EVALUATED)
        setup, a_step = self._replayed(self._rows(evaluated))
        meeting = max(0.0, a_step - self._seconds_for_step) * self.m / evaluated
        steps = self.recipe.steps(self.n)
        seconds = steps * (min(a_step, self._seconds_for_step) + meeting) + setup * self.m / evaluated
        if self.config.contributions == "exact":
            seconds += 4 * steps * self._seconds_for_step
        return seconds

    def sensitivity(self) -> float:
        """A posterior and a pass for every kept state."""
        chosen = self.config.sensitivity
        name: PosteriorName = chosen if chosen in ("diagonal", "full") else "kfac"  # the dearest of the others
        inputs, targets = self._rows(min(_SAMPLE, self.n))
        few, loss = slice(max(1, len(inputs) // 8)), self.recipe.loss
        plan = plan_parameters(self.model, inputs, "all")
        before = time.perf_counter()
        made = posterior_of(self.model, inputs[few], plan, 1.0, loss, name, None)
        constant = time.perf_counter() - before

        def error(outputs: Tensor, where: slice) -> Tensor:
            return prediction_errors(outputs, targets[where].to(outputs.device), loss)

        if isinstance(made, DiagonalPosterior):
            each = _timed(lambda: made.deviations(self.model, inputs, error, False)) / len(inputs)
            # The posterior's own part takes about two training steps for each example.
            each += 2 * self._seconds_for_step / min(self.recipe.batch_size, self.n)
        else:
            whole = _timed(lambda: memory_sensitivity(self.model, (inputs, targets), 1.0, loss, name))
            each = whole / len(inputs)
        state = constant + self.n * each + self.tested * self._seconds_for_outputs
        moments = max(1, len(kept_epochs(self.recipe.epochs)))  # one of weights that were given
        return moments * state

    def influence(self) -> float:
        """Gradients, sketched where the run will sketch them, and one decomposition."""
        plan = plan_parameters(self.model, self._rows(1)[0], "all")
        inputs, targets = self._rows(_SAMPLE)
        mixture = prediction_errors(outputs_of(self.model, inputs), targets.to(self._device), self.recipe.loss)
        columns, width = self.n * self.sizes.outputs, plan.width
        size, rows, fit = min(columns, width), columns, 0.0
        if size > DIMENSION:
            before = time.perf_counter()
            plan = kronecker_plan(self.model, inputs, plan, DIMENSION, self.config.seed, mixture)
            fit, size, rows = time.perf_counter() - before, DIMENSION, min(ROWS, columns)
        few = slice(64)
        each = _timed(lambda: jacobian(self.model, inputs[few], plan, mixture[few])) / len(inputs[few])
        products = 2 * rows * size**2 + 2 * (self.n + self.m) * size * (size + self.m)
        return fit + (rows + self.n + self.m) * each + products / self._flops + self._cubed * size**3

    def neighbours(self) -> float:
        """All pairs."""
        count = min(self.n, 1024)
        embeddings = torch.randn(count, self.sizes.head_width, device=self._device)
        seconds = _timed(lambda: near_duplicates(embeddings), 2) * (self.n / count) ** 2
        return seconds + self.n * self._seconds_for_outputs

    def map(self) -> float:
        """Neighbours of all pairs, and the layout."""
        points = self.n + self.m + self.tested
        laid_out = min(points, MOST)
        products = 2 * points * laid_out * self.sizes.head_width
        compiling = _MAP_SECONDS + (0.0 if is_compiled() else _FIRST_MAP_SECONDS)
        return compiling + _MAP_SECONDS_EACH * laid_out + products / self._flops

    # -- what they are made of ---------------------------------------------------------------------------------------

    @cached_property
    def _sample(self) -> InputsAndTargets:
        train_ = self.prepared.splits.train
        rows = torch.linspace(0, len(train_) - 1, min(_SAMPLE, len(train_))).long().numpy()
        chosen = train_.subset(rows)
        before = time.perf_counter()
        pair = self.prepared.some(rows)
        # The statistics are of the training images alone, which are most of them: counted for all.
        self._read = (time.perf_counter() - before) / len(chosen)
        before = time.perf_counter()
        for i in range(len(chosen) if train_.kind == "image" else 0):  # others have none
            encode_thumbnail(chosen[i][0])
        self._encoded = (time.perf_counter() - before) / len(chosen)
        return pair[0].to(self._device), pair[1]

    @property
    def _seconds_to_read(self) -> float:
        return self._read if self._sample else 0.0

    @property
    def _seconds_for_thumbnail(self) -> float:
        return self._encoded if self._sample else 0.0

    def _rows(self, count: int) -> InputsAndTargets:
        """So many examples: the sample, over and over."""
        inputs, targets = self._sample
        which = torch.arange(count) % len(targets)
        return inputs[which.to(inputs.device)], targets[which]

    def _replayed(self, evaluation: InputsAndTargets) -> tuple[float, float]:
        """Seconds until the first step of a replay is done, and for each that follows.

        It is the run's own replay, stopped after some steps, since how layers are treated depends on its whole size.
        """
        state, steps = state_of(self.model), self.recipe.steps(self.n)
        rates = [1e-6] * steps
        inputs, targets = self._rows(self.n)
        data = inputs, targets.to(self._device)  # as a training keeps them
        trajectory = Trajectory(self.recipe, self.n, torch.ones(self.n), self.model, data, state, state, rates=rates)
        began, moments = time.perf_counter(), []

        def stop(done: int, _total: int, _what: str) -> None:
            moments.append(time.perf_counter())
            if done == min(_REPLAYED, steps):  # a replay that came to its end would ask for the weights of a training
                raise Cancelled

        with suppress(Cancelled), listening(stop):
            hydra(trajectory, evaluation)
        return moments[0] - began, (moments[-1] - moments[0]) / max(1, len(moments) - 1)

    @property
    def _device(self) -> torch.device:
        return self.prepared.device

    def _train(self, pair: InputsAndTargets, steps: int) -> Trajectory:
        recipe = self.recipe.model_copy(update={"epochs": steps, "batch_size": len(pair[0]), "learning_rate": 1e-6})
        return train(copy.deepcopy(self.model), pair, recipe)

    @cached_property
    def _seconds_for_step(self) -> float:
        pair = self._rows(min(self.recipe.batch_size, self.n))
        count = 2 if _timed(lambda: self._train(pair, 1)) > 1 else 8
        return _timed(lambda: self._train(pair, count)) / count

    @cached_property
    def _seconds_for_outputs(self) -> float:
        pair = self._rows(_SAMPLE)
        return _timed(lambda: outputs_of(self.model, pair[0]), 2) / _SAMPLE

    @cached_property
    def _seconds_for_jacobian(self) -> float:
        plan = plan_parameters(self.model, self._rows(1)[0], self.config.parameters)
        inputs = self._rows(8)[0]
        return _timed(lambda: jacobian(self.model, inputs, plan)) / len(inputs)

    def _made_up(self, rows: int, features: int) -> LinearizedModel:
        """A linearised model with a few training examples and as many features as the run's will have."""
        generator = torch.Generator().manual_seed(0)
        count = min(_PASSED, self.n)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self._device)

        eigenvalues = torch.logspace(-6, 0, features, dtype=torch.float64).to(self._device)
        scale = (eigenvalues / self.n).sqrt()
        k = self.sizes.outputs
        outputs = drawn(count, k), drawn(self.m, k), drawn(count, k), drawn(self.m, k)
        return LinearizedModel(
            drawn(count, rows, features) * scale, eigenvalues, drawn(self.m, rows, features) * scale, *outputs
        )

    @cached_property
    def _flops(self) -> float:
        """Multiplications and additions in a second, float64."""
        side = 768
        matrix = torch.randn(side, side, dtype=torch.float64, device=self._device)
        return 2 * side**3 / _timed(lambda: matrix @ matrix, 3)

    @cached_property
    def _cubed(self) -> float:
        """Seconds for an eigendecomposition, over the cube of its size."""
        matrix = torch.randn(_DECOMPOSED, _DECOMPOSED, dtype=torch.float64, device=self._device)
        return _timed(lambda: torch.linalg.eigh(matrix @ matrix.T)) / _DECOMPOSED**3


def _timed(work: Callable[[], object], times: int = 1) -> float:
    """Seconds, the least of so many."""
    taken = []
    for _ in range(times):
        before = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - before)
    return min(taken)
