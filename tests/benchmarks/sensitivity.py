"""Compare the time of every training example's sensitivity (MPE) with an epoch of training.

    python -m tests.benchmarks.sensitivity [--examples 10000]

LeNet-5 on the demo's images, repeated to the number of examples, in batches of 64. Each number is the smallest of five
interleaved runs, in seconds and in epochs of training. The goal is below two epochs with Kronecker factors, and below
one for an estimate during training (``adam``, whose posterior costs nothing).

A training step takes about 3 x 417,000 multiplications for each example, minus the gradient in the image. ``v e`` takes
a forward pass, a backward pass through activations, each example's gradient, and the latter two again on the way back:
5 x 417,000 minus the same twice, so 1.8 times the arithmetic of an epoch. ``along_error`` skips the way back, so it
equals an epoch. The estimate saves the optimizer and small batches; it adds a copy of the windows of each convolution.
"""

import argparse
import functools
import json
import math
import sys
import time
from collections.abc import Callable

import torch

from attribution_core.methods.sensitivity.perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.training import Recipe, train
from tests.benchmarks.hydra import images

DELTA = 10.0


def least_seconds(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each work's smallest time over rounds, interleaved since a machine's speed drifts, after a warm-up."""
    least = dict.fromkeys(works, math.inf)
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data, _ = images(options.examples, 1)
    recipe = Recipe(optimizer="adam", learning_rate=0.001, batch_size=64, epochs=1, weight_decay=DELTA / len(data[0]))
    model = build_model("lenet5", 10, (1, 28, 28))
    trajectory = train(model, data, recipe)
    moments = trajectory.second_moments[trajectory.steps]
    look = functools.partial(memory_sensitivity, model, data, DELTA, second_moments=moments)
    works: dict[str, Callable[[], object]] = {
        "epoch": lambda: train(build_model("lenet5", 10, (1, 28, 28)), data, recipe),
        "kfac_along_error": functools.partial(look, posterior="kfac", variance="none", along_error=True),
        "kfac": functools.partial(look, posterior="kfac", variance="none"),
        "kfac_with_variances": functools.partial(look, posterior="kfac"),
        "diagonal": functools.partial(look, posterior="diagonal", variance="none"),
        "adam_along_error": functools.partial(look, posterior="adam", variance="none", along_error=True),
        "adam": functools.partial(look, posterior="adam", variance="none"),
    }
    seconds = least_seconds(works, options.rounds)
    line: dict[str, object] = {
        "benchmark": "sensitivity",
        "examples": options.examples,
        "threads": torch.get_num_threads(),
        "epoch_seconds": round(seconds.pop("epoch"), 2),
    }
    for name, value in seconds.items():
        line |= {f"{name}_seconds": round(value, 2), f"{name}_epochs": round(value / float(line["epoch_seconds"]), 2)}
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
