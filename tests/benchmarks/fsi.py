"""Compare F-SI of every example with a fresh eigendecomposition for each removed example.

    python -m tests.benchmarks.fsi [--data-root DIR] [--examples 1000]

The problem of unique information, table 1: MNIST 4 against 9 (from ``DIR/mnist``, or else synthetic inputs of the same
size), one output, an MLP with 1,024 ReLU units, t = 2000 steps of learning rate 0.001 on the mean loss. Timed is what
follows the kernels: the eigendecomposition and all leave-one-outs, against decomposing the kernel again without an
example, for 10 of them, times n / 10. The reference's seconds are printed beside the ratio.

Lower bound: the eigendecomposition takes about 9 n^3 operations (0.2 s for n = 1,000 at 50 GFlop/s). With 12 nodes, the
leave-one-outs need 48 n^2 for the inner products, as many for the changes and 2 n^2 min(m, n) for F-SI: together a
tenth of the eigendecomposition.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from attribution_core.datasets import as_tensors, open_dataset
from attribution_core.gradients import plan_parameters, tangent_kernels
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from tests.support import reference

SAMPLED = 10


def inputs_and_labels(data_root: Path | None, count: int) -> tuple[str, Tensor, Tensor]:
    """Return a name, and ``count`` images of the digits 4 and 9 or random ones with alternating labels."""
    if data_root is None:
        generator = torch.Generator().manual_seed(0)
        return "synthetic", torch.rand(count, 1, 28, 28, generator=generator), torch.arange(count) % 2
    train = open_dataset(data_root / "mnist").train
    chosen = [i for i, label in enumerate(train.labels) if label in (4, 9)][:count]
    inputs, labels = as_tensors(train.subset(chosen), size=None, statistics=None)
    return "MNIST 4 against 9", inputs, (labels == 9).long()


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, help="folder that holds mnist/; by default synthetic inputs")
    parser.add_argument("--examples", type=int, default=1000)
    options = parser.parse_args()
    n = options.examples
    data, inputs, labels = inputs_and_labels(options.data_root, 2 * n)
    model = build_model("mlp", 1, (1, 28, 28), hidden=[1024])
    start = time.perf_counter()
    plan = plan_parameters(model, inputs)
    kernel, cross, train_outputs, outputs = tangent_kernels(model, inputs[:n], inputs[n:], plan)
    kernel_seconds = time.perf_counter() - start
    targets = labels.double()[:, None]
    sides = train_outputs, outputs, targets[:n], targets[n:]
    schedule = GradientDescent(0.001, 2000, loss="mean")

    times = []
    for _ in range(3):
        start = time.perf_counter()
        linear = LinearizedModel.from_kernels(kernel, cross, *sides)
        scores = functional_sample_information(linear, schedule)
        times.append(time.perf_counter() - start)
    seconds = sorted(times)[1]

    residuals = (targets[:n] - train_outputs).double()
    start = time.perf_counter()
    before = reference.kernel_predictions(kernel, cross, residuals, schedule, list(range(n)))
    once = time.perf_counter() - start
    expected = []
    start = time.perf_counter()
    for i in range(SAMPLED):
        kept = [j for j in range(n) if j != i]
        after = reference.kernel_predictions(kernel, cross, residuals, schedule, kept)
        expected.append((before - after).square().mean() / 2)
    reference_seconds = (time.perf_counter() - start) * n / SAMPLED + once
    error = float(((scores[:SAMPLED] - torch.stack(expected)) / torch.stack(expected)).abs().max())

    line = {
        "benchmark": "fsi",
        "data": data,
        "examples": n,
        "evaluation": len(inputs) - n,
        "kernel_seconds": round(kernel_seconds, 3),
        "seconds": round(seconds, 4),
        "reference_seconds": round(reference_seconds, 2),
        "ratio": round(reference_seconds / seconds, 1),
        "largest_relative_error": error,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
