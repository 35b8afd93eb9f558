"""Measure whether a stage takes out of proportion: longer than five trainings, and longer than ten seconds.

    python -m tests.benchmarks.stages [--only NAME]

One JSON line for each dataset, with the seconds of training, of the longest other stage and of the estimate; ``met``
says whether every stage stays within the bound. Few large examples once took minutes for a matrix of rank 26.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attribution_core.scoring.estimate import estimate
from attribution_core.scoring.score import ScoreConfig, score

TRAININGS, SECONDS = 5, 10.0


def photographs(folder: Path) -> str:
    """Write 26 small photographs of two classes."""
    generator = np.random.default_rng(0)
    for number in range(26):
        side = folder / "photographs" / "ab"[number % 2]
        side.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(side / f"{number}.png")
    return str(folder / "photographs")


def configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the options of each run, by name."""
    return {
        "26 photographs": {"data": photographs(folder), "recipe": {"epochs": 5}},
        "digits": {"data": "digits", "max_train": 500},
        "demo": {"data": "fashion-demo"},
    }


def measured(options: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the seconds of a run's stages and of its estimate, and whether the bound is met."""
    began = time.perf_counter()
    estimate(ScoreConfig.model_validate(options))
    estimated = time.perf_counter() - began
    run = score(ScoreConfig.model_validate({**options, "out": out}))
    stages = {name: stage.seconds or 0.0 for name, stage in run.manifest.stages.items()}
    training = stages.pop("training")
    bound = max(TRAININGS * training, SECONDS)
    longest = max(stages, key=lambda name: stages[name])
    return {
        "training": round(training, 1),
        "longest": [longest, round(stages[longest], 1)],
        "estimate": round(estimated, 1),
        "bound": round(bound, 1),
        "met": max(stages[longest], estimated) <= bound,
    }


def main() -> int:
    """Print one JSON line for each dataset, and return 1 if a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="name of a dataset, or a part of it")
    given, met = parser.parse_args(), True
    with tempfile.TemporaryDirectory() as folder:
        for name, options in configurations(Path(folder)).items():
            if given.only in name:
                found = measured(options, Path(folder) / f"run {name}")
                met = met and found["met"]
                print(json.dumps({"benchmark": "stages", "what": name, **found}), flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
