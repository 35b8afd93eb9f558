"""Measurements on a few rows from which the stages estimate their seconds.

Each stage runs its own code on a few rows (:meth:`Stage.seconds_probe`), and its cost is that probe's times what it
grows with. With n training and m validation examples, k outputs, and a linearized model of p features (a = 1 row of
them for each example where the head is linearized, else k):

- dataset: opening, as it was just measured; reading, three times, and thumbnails, both linear in the images;
- training: optimizer steps, and outputs on all examples;
- linearized: a Gram matrix and a rotation, ``4 n a p^2``, an eigendecomposition, ``p^3``, and passes over the training
  examples, linear in n: one for each score, training time and weight decay;
- contributions: a replay of all steps, each against the m validation examples;
- sensitivity: for each checkpoint a posterior and a pass, linear in n, and a constant part, the decompositions of the
  layers' Kronecker factors;
- influence: gradients of r rows, a Gram matrix ``2 r q^2`` of their q coordinates, and its decomposition, ``q^3``;
- near-duplicates: the similarities of all pairs, ``n^2``;
- map: a layout, linear in all examples.

Embeddings, effects between classes and the detection of wrong labels take next to nothing.

Against real runs, in processor seconds on one thread, the total was 0.99 of theirs for the digits (28 s), 0.96 for the
demo (67 s) and 0.96 for 2,000 images of CIFAR-10 with cnn4 (8 min); stages of a second or more were within a factor of
1.4. Opening comes on top, which a run's own time for its dataset leaves out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import torch

from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.plain import copy_of
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs.thumbnails import encode_thumbnail
from attribution_core.scoring.sizes import RunSizes
from attribution_core.training import Trajectory, outputs_of, train

SAMPLE = 192  # images that are read for the probes
_DECOMPOSED = 768  # side of the matrix whose decomposition is timed


class Probe:
    """Measures on a few rows what the stages of a run share.

    Attributes:
        prepared: What is to be run.
        config: Its configuration.
        sizes: Its sizes.
        model: The model at its initial weights; not to be changed.
        device: Where it computes.
        recipe: How it is trained, with the run's seed.
        seconds_to_open: What opening the dataset took.
    """

    def __init__(self, prepared: Prepared, sizes: RunSizes, seconds_to_open: float) -> None:
        self.prepared, self.config, self.sizes = prepared, prepared.config, sizes
        self.model, self.device, self.seconds_to_open = sizes.model, prepared.device, seconds_to_open
        self.recipe = self.config.recipe.model_copy(update={"seed": self.config.seed})

    def rows(self, count: int) -> InputsAndTargets:
        """Return inputs and targets of ``count`` examples: the sample, over and over."""
        inputs, targets = self._sample[0]
        which = torch.arange(count) % len(targets)
        return inputs[which.to(inputs.device)], targets[which]

    def train_steps(self, data: InputsAndTargets, steps: int) -> Trajectory:
        """Train a copy of the model for a few steps on all of the data at once."""
        timed = {"epochs": steps, "batch_size": len(data[0]), "learning_rate": 1e-6, "plateau_loss": "training"}
        recipe = self.recipe.model_copy(update=timed)
        return train(copy_of(self.model), data, recipe)

    @property
    def seconds_to_read(self) -> float:
        """Seconds to read an example into a tensor."""
        return self._sample[1]

    @property
    def seconds_for_thumbnail(self) -> float:
        """Seconds to make an example's thumbnail."""
        return self._sample[2]

    @cached_property
    def seconds_for_step(self) -> float:
        """Seconds of a step of the optimizer."""
        data = self.rows(min(self.recipe.batch_size, self.sizes.n))
        count = 2 if timed(lambda: self.train_steps(data, 1)) > 1 else 8
        return timed(lambda: self.train_steps(data, count)) / count

    @cached_property
    def seconds_for_outputs(self) -> float:
        """Seconds for the model's outputs on an example."""
        inputs, _ = self.rows(SAMPLE)
        return timed(lambda: outputs_of(self.model, inputs), 2) / SAMPLE

    @cached_property
    def flops(self) -> float:
        """Floating-point operations in a second, float64."""
        side = 768
        matrix = torch.randn(side, side, dtype=torch.float64, device=self.device)
        return 2 * side**3 / timed(lambda: matrix @ matrix, 3)

    @cached_property
    def seconds_for_decomposition(self) -> float:
        """Seconds for an eigendecomposition, float64, divided by the cube of its size."""
        matrix = torch.randn(_DECOMPOSED, _DECOMPOSED, dtype=torch.float64, device=self.device)
        return timed(lambda: torch.linalg.eigh(matrix @ matrix.T)) / _DECOMPOSED**3

    @cached_property
    def _sample(self) -> tuple[InputsAndTargets, float, float]:
        """Some training examples, and the seconds for reading and for a thumbnail of one."""
        split = self.prepared.splits.train
        rows = torch.linspace(0, len(split) - 1, min(SAMPLE, len(split))).long().numpy()
        chosen = split.subset(rows)
        before = time.perf_counter()
        inputs, targets = self.prepared.some(rows)
        # The statistics are of the training images alone, which are most of them: counted for all.
        read = (time.perf_counter() - before) / len(chosen)
        before = time.perf_counter()
        for i in range(len(chosen) if split.kind == "image" else 0):  # others have none
            encode_thumbnail(chosen[i][0])
        return (inputs.to(self.device), targets), read, (time.perf_counter() - before) / len(chosen)


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Return the seconds that ``work`` takes, the least of several times."""
    taken = []
    for _ in range(times):
        before = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - before)
    return min(taken)
