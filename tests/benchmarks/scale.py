"""Score large datasets with every measure, and compare seconds, memory and disk with their limits.

    python -m tests.benchmarks.scale [--data-root DIR] [--only NAME]

One JSON line for each dataset: seconds of the whole command and of each stage, the largest resident set of its process,
the size of the run, and whether all are within the limits, which are for two idle cores.

- ``mnist``: all of MNIST's 60,000 training images (``DIR/mnist``), of which 9,000 are set aside for validation; the
  default model (784-1024-10).
- ``classes``: 10 examples of each of 1,000 classes, in 1,024 features; a linear model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.runs import Run


@dataclass(frozen=True)
class Limits:
    """Limits of a run: seconds, and the largest resident set and the size on disk in GB."""

    seconds: float
    memory: float
    disk: float


LIMITS = {"mnist": Limits(600, 4, 1), "classes": Limits(180, 12, 4)}
CLASSES, OF_EACH, FEATURES = 1000, 10, 1024
HELD_OUT = 1000  # examples for validation, and for testing


def many_classes(folder: Path) -> list[str]:
    """Write noisy copies of 1,000 points as a table, and return the arguments that score it."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    train = np.repeat(np.arange(CLASSES), OF_EACH)
    labels = np.concatenate([train, rng.integers(CLASSES, size=2 * HELD_OUT)])
    features = centers[labels] + 4 * rng.normal(size=(len(labels), FEATURES)).astype(np.float32)
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(FEATURES)])
    splits = ["train"] * len(train) + ["validation"] * HELD_OUT + ["test"] * HELD_OUT
    table = table.assign(label=[f"class {label:04d}" for label in labels], split=splits)
    table.to_parquet(folder / "classes.parquet")
    return [str(folder / "classes.parquet"), "--model", "linear"]


def measured(name: str, arguments: list[str], out: Path) -> dict[str, object]:
    """Score a dataset in a process of its own, and return what it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "attribution_core", "score", *arguments, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{name} failed")
    run, limits = Run.open(out), LIMITS[name]
    memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e9
    return {
        "benchmark": "scale",
        "what": name,
        "seconds": round(seconds, 1),
        "memory_gb": round(memory, 2),
        "disk_gb": round(disk, 2),
        "stages": {stage: round(record.seconds or 0.0, 1) for stage, record in run.manifest.stages.items()},
        "skipped": {name: facts["skipped"] for name, facts in run.manifest.details.items() if facts.get("skipped")},
        "limits": [limits.seconds, limits.memory, limits.disk],
        "met": seconds <= limits.seconds and memory <= limits.memory and disk <= limits.disk,
    }


def main() -> int:
    """Print one JSON line for each dataset, and return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="folder that holds mnist/")
    parser.add_argument("--only", default="", help="name of a dataset, or a part of it")
    given, met = parser.parse_args(), True
    with tempfile.TemporaryDirectory() as folder:
        for name in LIMITS:
            if given.only not in name or (name == "mnist" and given.data_root is None):
                continue
            arguments = [str(given.data_root / "mnist")] if name == "mnist" else many_classes(Path(folder))
            found = measured(name, arguments, Path(folder) / name)
            met = met and bool(found["met"])
            print(json.dumps(found), flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
