"""Compare the estimate of a run with what the run takes, on six configurations that differ in what matters.

    python -m tests.benchmarks.estimate [--only NAME]

Estimate and run each have their own process, so that neither profits from what the other has loaded. Time is that of
the stages; memory is the largest resident set (on a GPU, the largest allocation there). One JSON line for each
configuration; `met` says whether both are within a factor of 1.5. All six take about seven minutes on two cores.

Measured on two idle cores: estimated seconds were 0.94 to 1.21 of the real ones, memory 0.83 to 1.18.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

from attribution_core.memory import peak_bytes
from attribution_core.models import device_named
from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.score import ScoreConfig, score

FACTOR = 1.5
_GB = 1e9


def configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the options of each run, by name."""
    table = load_breast_cancer(as_frame=True)
    frame = table.data.assign(label=np.array(["malignant", "benign"])[table.target])
    frame.to_csv(folder / "cancer.csv", index=False)
    return {
        "small images, defaults": {"data": "digits"},
        "demo, defaults": {"data": "fashion-demo"},
        "convolutions": {"data": "digits", "image_size": 28, "model": "lenet5"},
        "more convolutions": {"data": "digits", "image_size": 32, "max_train": 500, "model": "cnn4"},
        "all parameters linearized": {"data": "digits", "hidden": (64,), "parameters": "all", "max_train": 400},
        "table": {"data": str(folder / "cancer.csv")},
    }


def measured(work: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return estimated or real seconds and bytes, from a separate process."""
    command = [sys.executable, "-m", "tests.benchmarks.estimate", "--work", work, "--options", json.dumps(options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _work(work: str, options: dict[str, Any]) -> None:
    """Run the work of one process."""
    if work == "estimate":
        found = estimate(ScoreConfig.model_validate(options))
        print(json.dumps({"seconds": found.total, "memory": found.memory, "stages": found.seconds}))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = score(ScoreConfig.model_validate({**options, "out": Path(folder) / "run"}))
        stages = {name: stage.seconds or 0.0 for name, stage in run.manifest.stages.items()}
    peak = peak_bytes(device_named("auto"))
    print(json.dumps({"seconds": sum(stages.values()), "memory": peak, "stages": stages}))


def main() -> None:
    """Print one JSON line for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of a configuration, or a part of it")
    parser.add_argument("--work", choices=("estimate", "run"), help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        _work(given.work, given.options)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, options in configurations(Path(folder)).items():
            if given.only and given.only not in name:
                continue
            estimated, taken = (measured(work, options) for work in ("estimate", "run"))
            ratios = {what: estimated[what] / taken[what] for what in ("seconds", "memory")}
            print(
                json.dumps(
                    {
                        "benchmark": "estimate",
                        "what": name,
                        "seconds": [round(estimated["seconds"], 1), round(taken["seconds"], 1)],
                        "GB": [round(estimated["memory"] / _GB, 2), round(taken["memory"] / _GB, 2)],
                        "ratios": {what: round(ratio, 2) for what, ratio in ratios.items()},
                        "met": all(1 / FACTOR <= ratio <= FACTOR for ratio in ratios.values()),
                        "stages": {
                            stage: [round(estimated["stages"].get(stage, 0.0), 1), round(seconds, 1)]
                            for stage, seconds in taken["stages"].items()
                            if max(seconds, estimated["stages"].get(stage, 0.0)) >= 1
                        },
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
