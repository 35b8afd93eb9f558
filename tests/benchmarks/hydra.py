"""Compare HYDRA with the training that it explains, in time and memory.

    python -m tests.benchmarks.hydra [--examples 10000] [--evaluated 1000] [--epochs 5]

LeNet-5 is trained on the demo's images, repeated to the number of training examples, with batches of 64, momentum and
weight decay. Timed are training; every Hessian-free pair (one replay with per-layer factors); the exact adjoint of the
mean loss; and the exact adjoints of 500 evaluation examples through a basis of 98% of their gradients' energy.
``one_pass`` is the training itself, followed in a sketch, with its error. ``paper_gigabytes`` is what the paper's
method would store: a hypergradient and its momentum for each training example.

Bounds of the pairs, for LeNet-5: summed over training, the gradients of both convolutions meet an evaluation example
once (2,572 multiply-adds); the factors of the linear layers meet at every step (818). With 10,000 x 1,000 x 5 meetings
that is 6.7 * 10^10, all in matrix products, a third of the training's. Before convolutions were summed it was
1.6 * 10^11, and the windows of a convolution were copied column by column: 3.5 times the training, now 2.

Bounds of the exact mean: the derivative along u of a step and of its gradient is twice the step, in addition to the
step itself, so 4 times the training with the replay; convolutions that share what they compute reduce it to about 3.5,
and torch.func's own layers around the same operations would make it 4.4.

Bounds of the 500: 116 directions, 16 through the network together, about one training for each; more at a time are
slower (32: 1.5 times as long), since their activations leave the cache.
"""

import argparse
import json
import resource
import sys
import time

import torch
from torch import Tensor

from attribution_core.datasets import as_tensors, open_dataset, pixel_statistics
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.online import HydraAccumulator
from attribution_core.models import build_model
from attribution_core.training import Recipe, train


def images(examples: int, evaluated: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the demo's training images, repeated as needed, and its validation images."""
    splits = open_dataset("fashion-demo")
    statistics = pixel_statistics(splits.train, size=None)
    inputs, labels = as_tensors(splits.train, size=None, statistics=statistics)
    others, their_labels = as_tensors(splits.validation, size=None, statistics=statistics)
    chosen, wanted = torch.arange(examples) % len(inputs), torch.arange(evaluated) % len(others)
    return (inputs[chosen], labels[chosen]), (others[wanted], their_labels[wanted])


def one_pass(
    data: tuple[Tensor, Tensor], evaluation: tuple[Tensor, Tensor], recipe: Recipe, training: float
) -> dict[str, float]:
    """Run the same training while following it in a sketch."""
    start = time.perf_counter()
    model = build_model("lenet5", 10, (1, 28, 28))
    with HydraAccumulator(model, data[0], recipe) as accumulator:
        train(model, data, recipe, on_step=accumulator.step)
    _, error = accumulator.contributions(evaluation)
    seconds = time.perf_counter() - start
    return {
        "one_pass_seconds": round(seconds, 2),
        "one_pass_ratio": round(seconds / training, 2),
        "one_pass_error": round(error.relative, 3),
        "one_pass_rank_correlation": round(error.rank_correlation, 4),
    }


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--evaluated", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    data, evaluation = images(options.examples, options.evaluated)
    model = build_model("lenet5", 10, (1, 28, 28))
    recipe = Recipe(learning_rate=0.02, batch_size=64, epochs=options.epochs)
    few = tuple(side[:640] for side in data)
    warm = train(build_model("lenet5", 10, (1, 28, 28)), few, recipe.model_copy(update={"epochs": 1}))
    hydra(warm, few, hessian=True, objective="mean")  # PyTorch loads its rules for derivatives on their first use
    start = time.perf_counter()
    trajectory = train(model, data, recipe)
    training = time.perf_counter() - start
    weights = sum(parameter.numel() for parameter in model.parameters())
    line: dict[str, object] = {
        "benchmark": "hydra",
        "examples": options.examples,
        "evaluated": options.evaluated,
        "epochs": options.epochs,
        "training_seconds": round(training, 2),
        "paper_gigabytes": round(2 * 4 * options.examples * weights / 1e9, 2),
    }
    line |= one_pass(data, evaluation, recipe, training)
    few = tuple(side[:500] for side in evaluation)
    for name, side, hessian, objective in (
        ("pairs", evaluation, False, "each"),
        ("exact_mean", evaluation, True, "mean"),
        ("exact_each_of_500", few, True, "each"),
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        found = hydra(trajectory, side, hessian=hessian, objective=objective)
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        line |= {f"{name}_seconds": round(seconds, 2), f"{name}_ratio": round(seconds / training, 2)}
        line |= {f"{name}_more_gigabytes": round(grown, 2)}
        if found.kept_energy is not None:
            line[f"{name}_energy"] = round(found.kept_energy, 4)
        print(json.dumps(line), file=sys.stderr, flush=True)
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
