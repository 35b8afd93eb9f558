"""Measure how the time of F-SI grows with the number of examples, and what a sweep over training times costs.

    python -m tests.benchmarks.fsi_scaling [--examples 10000] [--features 1024] [--outputs 10]

The features are synthetic, with a spectrum that decays like a tangent kernel's. Timed is everything after the features:
the eigendecomposition of p x p, then every leave-one-out, for half the examples and for all, in float64 and in float32
(the default from 67 million feature numbers on). The exponent is the slope of log time over log n between half and all.
The sweep is 50 training times at n = 1,000, one output, from one decomposition.

Bounds, for n examples, k outputs, p features and 24 real columns of nodes: k (k + 1) / 2 p products, 24 times as many
multiply-adds for the inner products, 24 k p for the changes and p^2 for F-SI. At k = 10 and p = 1,024 that is about 2.7
million multiply-adds for each example, nearly all in matrix products. The k x k solves are less than a tenth.
"""

import argparse
import json
import math
import resource
import sys
import time
from dataclasses import replace

import torch
from torch import Tensor

from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent


def problem(n: int, m: int, k: int, p: int) -> tuple[Tensor, ...]:
    """Return Jacobians ``[n, k, p]`` and ``[m, k, p]``, outputs and one-hot targets."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -2, p)
    train, evaluation = (torch.randn(count, k, p, generator=generator) * scale for count in (n, m))
    targets = [torch.eye(k)[torch.arange(count) % k] for count in (n, m)]
    return train, evaluation, torch.zeros(n, k), torch.zeros(m, k), *targets


def timed(arguments: tuple[Tensor, ...], dtype: torch.dtype) -> float:
    """Return the seconds from features to F-SI."""
    start = time.perf_counter()
    linear = LinearizedModel.from_jacobians(*arguments, dtype=dtype)
    functional_sample_information(linear, GradientDescent(1 / float(linear.eigenvalues[-1]), 1000))
    return time.perf_counter() - start


def sweep() -> float:
    """Return the seconds for F-SI at 50 training times, n = 1,000, one output, including the decomposition."""
    start = time.perf_counter()
    linear = LinearizedModel.from_jacobians(*problem(1000, 1000, 1, 1000))
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), 1)
    for step in range(50):
        functional_sample_information(linear, replace(schedule, steps=10 ** (step / 10)))
    return time.perf_counter() - start


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--outputs", type=int, default=10)
    options = parser.parse_args()
    n, m = options.examples, 1000
    line: dict[str, object] = {
        "benchmark": "fsi_scaling",
        "examples": n,
        "outputs": options.outputs,
        "features": options.features,
        "sweep_50_times_seconds": round(sweep(), 2),
        "threads": torch.get_num_threads(),
    }
    for dtype in (torch.float64, torch.float32):
        half, whole = (timed(problem(each, m, options.outputs, options.features), dtype) for each in (n // 2, n))
        name = str(dtype).removeprefix("torch.")
        line |= {f"{name}_seconds_half": round(half, 2), f"{name}_seconds": round(whole, 2)}
        line[f"{name}_exponent"] = round(math.log2(whole / half), 3)
    line["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
