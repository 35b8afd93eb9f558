"""Time F-SI at a new training time while the user waits: the cost of moving a slider over training.

    python -m tests.benchmarks.live [--examples 2000] [--features 257] [--classes 10]

Outputs share random features with a slowly decaying spectrum (the default size is a head on 256 hidden units and a
bias; the demo has 1,025 features), and there are half as many evaluation examples. The model is written and opened like
a run's, and queried at times over its whole range, in the precision that :class:`LiveInformation` chooses. The cost in
accuracy is the largest relative error against float64 ("largest_relative_error"; null if the precision is float64).

Lower bound: at most n c p (p + m) multiplications; half of the p^2 part by the symmetry of F. At 80 GFlop/s (two cores,
float64) that is 20 ms for the default size, and 0.3 s for the demo's, which is therefore computed in float32.
"""

import time

_START = time.perf_counter()
import torch  # noqa: E402 - its import is timed

TORCH_SECONDS = time.perf_counter() - _START

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from attribution_core.methods.linearized.model import LinearizedModel  # noqa: E402
from attribution_core.runs import Run, RunWriter  # noqa: E402
from attribution_core.scoring.stages.live import write_live_model  # noqa: E402
from attribution_core.workflows.live_information import LiveInformation  # noqa: E402

QUERIES = 25


def write_run(path: Path, n: int, p: int, k: int) -> None:
    """Write a run that holds only what live values need."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, p + 1, dtype=torch.float64) ** -0.75
    train, evaluation = (
        torch.randn(size, 1, p, generator=generator, dtype=torch.float64).relu() * scale for size in (n, n // 2)
    )
    targets = [torch.eye(k, dtype=torch.float64)[torch.arange(size) % k] for size in (n, n // 2)]
    outputs = [torch.zeros_like(each) for each in targets]
    linear = LinearizedModel.from_jacobians(train, evaluation, *outputs, *targets)
    facts = {"learning_rate": 1 / float(linear.eigenvalues[-1]), "steps": 1000, "weight_decay": 0.0}
    with RunWriter.start(path, {}, "", "benchmark") as writer:
        writer.write_table("examples", pd.DataFrame({"id": [str(i) for i in range(n)]}))
        writer.write_evolution("fsi", [10, 1e5], np.zeros((2, n)))
        write_live_model(writer, linear)
        writer.describe("fsi", facts)


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--features", type=int, default=257)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder) / "run", options.examples, options.features, options.classes)
        run = Run.open(Path(folder) / "run")
        start = time.perf_counter()
        live = LiveInformation.open(run)
        open_seconds = time.perf_counter() - start
        exact = LiveInformation.open(run, exact=True)
    low, high = live.range
    times = low * (high / low) ** np.random.default_rng(0).random(QUERIES)
    milliseconds, errors = [], []
    for steps in times:
        start = time.perf_counter()
        values = live.at(float(steps))
        milliseconds.append(1000 * (time.perf_counter() - start))
        if live.precision != exact.precision:
            errors.append(float(np.abs(values / exact.at(float(steps)) - 1).max()))
    line = {
        "benchmark": "live",
        "examples": options.examples,
        "features": options.features,
        "classes": options.classes,
        "precision": live.precision,
        "milliseconds_median": round(statistics.median(milliseconds), 1),
        "milliseconds_worst": round(max(milliseconds), 1),
        "largest_relative_error": max(errors, default=None),
        "torch_import_seconds": round(TORCH_SECONDS, 2),
        "open_seconds": round(open_seconds, 3),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
