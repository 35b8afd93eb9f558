"""Compare F-SI under both sketches with F-SI of the exact kernel.

    python -m tests.benchmarks.sketches [--data-root DIR] [--examples 1000] [--steps 2000] [--models mlp cnn4]

The problem of unique information, table 1: one output, learning rate 0.001 on the mean loss; MNIST 4 against 9 (from
``DIR/mnist``), or else Shirt against T-shirt/top of the demo dataset. For each model and sketch: Spearman and Pearson
correlation with the exact scores, the ratio of the means, the seconds from model to features, and the number of
features.

Results (MNIST, n = m = 1,000, rank correlation at t = 2,000 / 20,000 / infinity):

                                   MLP, 1,024 units        cnn4
    coordinates, 2,000 a tensor    0.977  0.923  0.39      0.987  0.983  0.67
    Nystrom, 400 landmarks         0.999  0.993  0.38      1.000  1.000  0.42
    kronecker, 500 in all          1.000  0.996  0.45      0.999  0.996  0.29
    kronecker, 2,000 in all        1.000  1.000  0.47      1.000  1.000  0.36
    kronecker, 8,000 in all        1.000  1.000  0.93      1.000  1.000  0.93

The Kronecker basis is at least as good as landmarks at the same number of features, and a row of it costs only
projections, where a landmark costs kernel entries. Training to the end depends on the kernel's smallest eigenvalues,
which no small sketch keeps: with nearly as many features as examples (times outputs) the scores even explode. Use the
exact kernel there, or many times more features than examples.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from attribution_core.datasets import as_tensors, open_dataset
from attribution_core.methods.linearized.build import DIMENSION, linearize
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from tests.benchmarks.fsi import inputs_and_labels


def two_classes(data_root: Path | None, count: int) -> tuple[str, Tensor, Tensor]:
    """Return a name, and up to ``count`` images and labels of two similar classes."""
    if data_root is not None:
        return inputs_and_labels(data_root, count)
    train = open_dataset("fashion-demo").train
    pair = [train.class_names.index(name) for name in ("T-shirt/top", "Shirt")]
    chosen = [i for i, label in enumerate(train.labels) if label in pair][:count]
    inputs, labels = as_tensors(train.subset(chosen), size=None, statistics=None)
    return "demo, Shirt against T-shirt/top", inputs, (labels == pair[1]).long()


def timed(*arguments: object, **options: object) -> tuple[LinearizedModel, float]:
    """Return the linearized model and the seconds that it took."""
    start = time.perf_counter()
    return linearize(*arguments, **options), time.perf_counter() - start  # type: ignore[arg-type]


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, help="folder that holds mnist/; by default the demo dataset")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--steps", type=float, default=2000)
    parser.add_argument("--models", nargs="+", default=["mlp", "cnn4"])
    options = parser.parse_args()
    data, inputs, labels = two_classes(options.data_root, 2 * options.examples)
    n = len(inputs) // 2
    sides = (inputs[:n], labels[:n]), (inputs[n:], labels[n:])
    schedule = GradientDescent(0.001, options.steps, loss="mean")
    results = {}
    for name in options.models:
        model = build_model(name, 1, tuple(inputs.shape[1:]))
        linear, seconds = timed(model, *sides)
        exact = functional_sample_information(linear, schedule)
        results[name] = {"exact": {"seconds": round(seconds, 2)}}
        for sketch in ("coordinates", "kronecker"):
            linear, seconds = timed(model, *sides, sketch=sketch, dimension=DIMENSION)
            scores = functional_sample_information(linear, schedule)
            results[name][sketch] = {
                "rank_correlation": round(float(spearmanr(scores, exact).statistic), 5),
                "pearson": round(float(pearsonr(scores, exact).statistic), 5),
                "ratio_of_means": round(float(scores.mean() / exact.mean()), 4),
                "kept_energy": linear.kept_energy,
                "seconds": round(seconds, 2),
                "features": int(linear.features.shape[2]),
            }
    line = {
        "benchmark": "sketches", "data": data, "examples": n, "steps": options.steps, "dimension": DIMENSION,
        "models": results, "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
