"""Memory-perturbation sensitivity of every training example against an epoch of training.

    python -m tests.benchmarks.sensitivity [--examples 10000]

LeNet-5 on the demo's images, repeated to the number of examples, batches of 64. Each line is the least of three runs,
in seconds and in epochs of training (the least of three too). Wanted: below two epochs with Kronecker factors, below
one for a look during training (``adam``, which needs no posterior of its own).

A training step takes about 3 x 417,000 multiplications an example, less the gradient in the image. ``v e`` takes a
forward pass, a backward pass through activations, each example's gradient, and the same two again on the way back:
5 x 417,000 less the same twice. So a look cannot cost much less than 1.5 times the arithmetic of an epoch; what it
saves is the optimiser and small batches.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable

import torch

from attribution_core.methods.memory_perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.training import Recipe, train
from tests.benchmarks.hydra import images

DELTA = 10.0


def least_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Of so many runs, after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> int:
    """Print the benchmark's line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    options = parser.parse_args()
    data, _ = images(options.examples, 1)
    recipe = Recipe(optimizer="adam", learning_rate=0.001, batch_size=64, epochs=1, weight_decay=DELTA / len(data[0]))
    model = build_model("lenet5", 10, (1, 28, 28))
    trajectory = train(model, data, recipe)
    epoch = least_seconds(lambda: train(build_model("lenet5", 10, (1, 28, 28)), data, recipe))
    moments = trajectory.second_moments[trajectory.steps]
    look = functools.partial(memory_sensitivity, model, data, DELTA, second_moments=moments)
    line: dict[str, object] = {
        "benchmark": "sensitivity",
        "examples": options.examples,
        "epoch_seconds": round(epoch, 2),
        "threads": torch.get_num_threads(),
    }
    looks = {
        "kfac": functools.partial(look, posterior="kfac", variance="none"),
        "diagonal": functools.partial(look, posterior="diagonal", variance="none"),
        "adam": functools.partial(look, posterior="adam", variance="none"),
        "kfac_with_variances": functools.partial(look, posterior="kfac"),
    }
    for name, work in looks.items():
        seconds = least_seconds(work)
        line |= {f"{name}_seconds": round(seconds, 2), f"{name}_epochs": round(seconds / epoch, 2)}
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
