"""What the stages of a run cost, measured on a few rows, for :mod:`attribution_core.estimate`.

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

Memory is what the arrays that a stage holds together take, above what opening the data takes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor

from attribution_core.contribution_stage import why_left_out
from attribution_core.gradients import jacobian, kronecker_plan, plan_parameters, select_parameters
from attribution_core.influence_stage import why_no_influence
from attribution_core.linalg.blocked import BLOCK_BYTES
from attribution_core.linearised_stage import CURVE_EXAMPLES, EXACT_SIZE
from attribution_core.methods.embedding_map import MOST
from attribution_core.methods.gradient_descent import GradientDescent
from attribution_core.methods.hydra import hydra
from attribution_core.methods.influence_spectrum import DIMENSION, ROWS
from attribution_core.methods.kernel_regime import estimate_error
from attribution_core.methods.linearize import head_inputs
from attribution_core.methods.linearized import LinearizedModel
from attribution_core.methods.losses import prediction_errors
from attribution_core.methods.memory_perturbation import PosteriorName, memory_sensitivity, posterior_of
from attribution_core.methods.near_duplicates import near_duplicates
from attribution_core.methods.posteriors import DiagonalPosterior
from attribution_core.methods.unique_information import functional_sample_information, sample_information
from attribution_core.preparation import Prepared
from attribution_core.recorded_training import kept_epochs
from attribution_core.runs.thumbnails import encode_thumbnail
from attribution_core.stage_parts import Pair, left_out_by_choice
from attribution_core.training import Trajectory, outputs_of, state_of, train

_SAMPLE = 192  # images that are read for the probes
_PASSED = 64  # rows of a linearised model that are passed over
_DECOMPOSED = 768  # side of the matrix whose decomposition is timed
_REPLAYED = 6  # steps
_EVALUATED = 1024  # evaluation examples that a replay is probed with
# The map alone is not probed, since UMAP compiles for seconds: these were measured where this was written.
_MAP_SECONDS, _MAP_SECONDS_EACH = 5.0, 6e-4
_TIMES = 9  # training times at which F-SI is kept, and influencers are counted
_DECAYS = 10  # weight decays, and one more, at which the classical estimate is compared
_GROUPS = 10  # of training examples that are removed together


class _EnoughError(Exception):
    """Stops a replay that has been timed."""


class Probe:
    """Measures each stage on a few rows: seconds, and bytes at the stage's peak."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.config = prepared, prepared.config
        self.n, self.m, self.tested = (len(split) for split in prepared.splits)
        self.k = len(prepared.splits.train.class_names)
        self.recipe = self.config.recipe.model_copy(update={"seed": self.config.seed})
        self.model = prepared.build(self.config.seed)
        self.size = sum(parameter.numel() for parameter in self.model.parameters())
        self.bytes_each = 4 * math.prod(prepared.input_shape)
        self.held_bytes = self.bytes_each * (self.n + self.m + self.tested)

    def why_left_out(self, stage: str) -> str:
        """Why the run will not have a stage, where that is known beforehand; else empty."""
        config = self.config
        if stage == "contributions":
            return why_left_out(config, self.model, torch.zeros(2, *self.prepared.input_shape, device=self._device))
        if stage == "sensitivity":
            return left_out_by_choice(config, config.sensitivity, "sensitivities")
        if stage == "map" and config.map == "off":
            return "the map was turned off"
        if stage == "influence":
            return why_no_influence(config, self.model)
        return ""

    # -- the stages ------------------------------------------------------------------------------------------------

    def dataset(self, seconds_to_open: float) -> tuple[float, int]:
        """Opening, which took so many seconds already, reading, and thumbnails."""
        images = self.n + self.m + self.tested
        return seconds_to_open + images * (self._seconds_to_read + self._seconds_for_thumbnail), 0

    def training(self) -> tuple[float, int]:
        """Steps, the first of a process by itself, and outputs on all examples."""
        steps, batch = self.recipe.steps(self.n), min(self.recipe.batch_size, self.n)
        pair = self._rows(batch)
        first = _timed(lambda: self._train(pair, 1))  # loads what only a process's first step has to
        seconds = first + steps * self._seconds_for_step
        kept = len(kept_epochs(self.recipe.epochs)) + 5  # gradients, momentum, both ends, a copy
        held = 4 * self.size * kept + 2 * batch * self._activation_bytes
        return seconds + (self.n + self.m + self.tested) * self._seconds_for_outputs, held

    def linearised(self) -> tuple[float, int]:
        """One decomposition and many passes, over a model of made-up features."""
        rows, features = self._feature_rows
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
        held = 8 * ((2 * self.n + self.m) * rows * p + 3 * p * p + 2 * self.n * CURVE_EXAMPLES) + 2 * BLOCK_BYTES
        return seconds + (self.n + self.m) * self._seconds_for_outputs, held

    def contributions(self) -> tuple[float, int]:
        """A replay, whose steps meet some evaluation examples here and all of them in the run."""
        evaluated = min(self.m, _EVALUATED)
        setup, a_step = self._replayed(self._rows(evaluated))
        meeting = max(0.0, a_step - self._seconds_for_step) * self.m / evaluated
        steps = self.recipe.steps(self.n)
        seconds = steps * (min(a_step, self._seconds_for_step) + meeting) + setup * self.m / evaluated
        if self.config.contributions == "exact":
            seconds += 4 * steps * self._seconds_for_step
        held = 4 * (3 * self.n * self.m + self.recipe.epochs * self.n) + self.m * self._activation_bytes
        return seconds, held

    def sensitivity(self) -> tuple[float, int]:
        """A posterior and a pass for every kept state."""
        chosen = self.config.sensitivity
        name: PosteriorName = chosen if chosen in ("diagonal", "full") else "kfac"  # the dearest of the others
        inputs, targets = self._rows(min(_SAMPLE, self.n))
        few, loss = slice(max(1, len(inputs) // 8)), self.recipe.loss
        plan = plan_parameters(self.model, inputs, "all")
        before = time.perf_counter()
        made = posterior_of(self.model, inputs[few], plan, 1.0, loss, name, None, None)
        constant = time.perf_counter() - before

        def error(outputs: Tensor, where: slice) -> Tensor:
            return prediction_errors(outputs, targets[where].to(outputs.device), loss)

        if isinstance(made, DiagonalPosterior):
            each = _timed(lambda: made.deviations(self.model, inputs, error, False, None)) / len(inputs)
            # The posterior's own part takes about two training steps for each example.
            each += 2 * self._seconds_for_step / min(self.recipe.batch_size, self.n)
        else:
            whole = _timed(lambda: memory_sensitivity(self.model, (inputs, targets), 1.0, loss, name))
            each = whole / len(inputs)
        state = constant + self.n * each + self.tested * self._seconds_for_outputs
        moments = max(1, len(kept_epochs(self.recipe.epochs)))  # one of weights that were given
        return moments * state, 4 * self.size * 8 + BLOCK_BYTES

    def influence(self) -> tuple[float, int]:
        """Gradients, sketched where the run will sketch them, and one decomposition."""
        plan = plan_parameters(self.model, self._rows(1)[0], "all")
        inputs, targets = self._rows(_SAMPLE)
        mixture = prediction_errors(outputs_of(self.model, inputs), targets.to(self._device), self.recipe.loss)
        columns, width = self.n * self.k, plan.width
        size, rows, fit = min(columns, width), columns, 0.0
        if size > DIMENSION:
            before = time.perf_counter()
            plan = kronecker_plan(self.model, inputs, plan, DIMENSION, self.config.seed, None, mixture)
            fit, size, rows = time.perf_counter() - before, DIMENSION, min(ROWS, columns)
        few = slice(64)
        each = _timed(lambda: jacobian(self.model, inputs[few], plan, None, mixture[few])) / len(inputs[few])
        products = 2 * rows * size**2 + 2 * (self.n + self.m) * size * (size + self.m)
        seconds = fit + (rows + self.n + self.m) * each + products / self._flops + self._cubed * size**3
        held = 8 * 4 * size**2 + 4 * (2 * (self.n + self.m) * size + 3 * self.n * self.m) + 4 * 1024 * size
        return seconds, held

    def neighbours(self) -> tuple[float, int]:
        """All pairs."""
        count = min(self.n, 1024)
        width = self._head_width
        embeddings = torch.randn(count, width, device=self._device)
        seconds = _timed(lambda: near_duplicates(embeddings), 2) * (self.n / count) ** 2
        return seconds + self.n * self._seconds_for_outputs, 8 * self.n * width + 2 * BLOCK_BYTES

    def map(self) -> tuple[float, int]:
        """Neighbours of all pairs, and the layout."""
        points = self.n + self.m + self.tested
        laid_out = min(points, MOST)
        seconds = _MAP_SECONDS + _MAP_SECONDS_EACH * laid_out + 2 * points * laid_out * self._head_width / self._flops
        return seconds, 4 * points * self._head_width + 2 * BLOCK_BYTES + 8 * 100 * laid_out

    # -- what they are made of ---------------------------------------------------------------------------------------

    @cached_property
    def _sample(self) -> Pair:
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

    def _rows(self, count: int) -> Pair:
        """So many examples: the sample, over and over."""
        inputs, targets = self._sample
        which = torch.arange(count) % len(targets)
        return inputs[which.to(inputs.device)], targets[which]

    def _replayed(self, evaluation: Pair) -> tuple[float, float]:
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
                raise _EnoughError

        with suppress(_EnoughError):
            hydra(trajectory, evaluation, progress=stop)
        return moments[0] - began, (moments[-1] - moments[0]) / max(1, len(moments) - 1)

    @property
    def _device(self) -> torch.device:
        return self.prepared.device

    def _train(self, pair: Pair, steps: int) -> Trajectory:
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

    @cached_property
    def _activation_bytes(self) -> int:
        """Of the outputs of all layers, for one example."""
        numbers: list[int] = []
        hooks = [
            module.register_forward_hook(lambda _module, _given, result: numbers.append(result.numel()))
            for module in self.model.modules()
            if not list(module.children())
        ]
        try:
            outputs_of(self.model, self._rows(1)[0])
        finally:
            for hook in hooks:
                hook.remove()
        return 4 * sum(numbers)

    @cached_property
    def _head_width(self) -> int:
        return int(head_inputs(self.model, self._rows(1)[0]).shape[1])

    @cached_property
    def _feature_rows(self) -> tuple[int, int]:
        """Rows of the linearised model's features for each example, and how many features."""
        if self.config.parameters == "head":
            return 1, self._head_width + 1
        named = dict(self.model.named_parameters())
        width = sum(named[name].numel() for name in select_parameters(self.model, self.config.parameters))
        return self.k, self.config.dimension if min(self.n * self.k, width) > EXACT_SIZE else width

    def _made_up(self, rows: int, features: int) -> LinearizedModel:
        """A linearised model with a few training examples and as many features as the run's will have."""
        generator = torch.Generator().manual_seed(0)
        count = min(_PASSED, self.n)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self._device)

        eigenvalues = torch.logspace(-6, 0, features, dtype=torch.float64).to(self._device)
        scale = (eigenvalues / self.n).sqrt()
        outputs = drawn(count, self.k), drawn(self.m, self.k), drawn(count, self.k), drawn(self.m, self.k)
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
