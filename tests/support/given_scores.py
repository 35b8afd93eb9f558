"""Scores and effects that the tests of the import give to a made-up run, and what they compare afterwards."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.runs import Run

N, VALIDATION, TEST = 60, 15, 15
METHODS = ["ntk", "hydra", "influence"]
_RNG = np.random.default_rng(0)
SCORES = _RNG.normal(size=N)
EFFECTS = _RNG.normal(size=(N, VALIDATION))


def file_digests(run: Run) -> dict[str, str]:
    """Return the SHA-256 of every file of a run, by its path."""
    files = sorted(file for file in run.path.rglob("*") if file.is_file())
    return {str(file.relative_to(run.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def shuffled_table(run: Run, **columns: np.ndarray) -> pd.DataFrame:
    """Return the run's ids with columns of scores, in another order."""
    return pd.DataFrame({"id": run.examples["id"], **columns}).sample(frac=1, random_state=1)


def save_array(path: Path, values: np.ndarray) -> Path:
    """Write an array as .npy."""
    np.save(path, values)
    return path
