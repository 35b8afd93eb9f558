"""Memory-perturbation sensitivity of every training example against an epoch of training.

    python -m tests.benchmarks.sensitivity [--examples 10000]

LeNet-5 on the demo's images, repeated to the number of examples, batches of 64. For each posterior: seconds and the
multiple of an epoch's. Wanted: below two epochs with Kronecker factors, below one for a look during training.
"""

import argparse
import json
import sys
import time

import torch

from attribution_core.methods.memory_perturbation import memory_sensitivity
from attribution_core.models import build_model
from attribution_core.training import Recipe, train
from tests.benchmarks.hydra import images


def main() -> int:
    """Print the benchmark's line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    options = parser.parse_args()
    data, _ = images(options.examples, 1)
    recipe = Recipe(optimizer="adam", learning_rate=0.001, batch_size=64, epochs=3, weight_decay=1e-3)
    model = build_model("lenet5", 10, (1, 28, 28))
    train(build_model("lenet5", 10, (1, 28, 28)), data, recipe.model_copy(update={"epochs": 1}))  # warm up
    start = time.perf_counter()
    trajectory = train(model, data, recipe)
    epoch = (time.perf_counter() - start) / recipe.epochs
    line: dict[str, object] = {
        "benchmark": "sensitivity",
        "examples": options.examples,
        "epoch_seconds": round(epoch, 2),
        "threads": torch.get_num_threads(),
    }
    moments = trajectory.second_moments[trajectory.steps]
    few = tuple(side[:64] for side in data)
    for posterior in ("kfac", "diagonal", "adam"):
        memory_sensitivity(model, few, 10.0, posterior=posterior, second_moments=moments)  # imports
        start = time.perf_counter()
        memory_sensitivity(model, data, 10.0, posterior=posterior, second_moments=moments)
        seconds = time.perf_counter() - start
        line |= {f"{posterior}_seconds": round(seconds, 2), f"{posterior}_epochs": round(seconds / epoch, 2)}
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
