"""Embeddings of a run's examples: one float32 matrix a split, read in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import embeddings_file


def write_embeddings(run: Path, split: str, values: np.ndarray) -> None:
    """Writes ``embeddings/SPLIT.npy``, ``[rows, d]``."""
    with written_atomically(run / embeddings_file(split)) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(values, dtype=np.float32), allow_pickle=False)


def read_embeddings(run: Path, split: str) -> np.ndarray:
    """The matrix, mapped into memory.

    Raises:
        InputError: If the run has none, or it is damaged.
    """
    file = run / embeddings_file(split)
    if not file.is_file():
        raise InputError(f"The run {run.name} has no embeddings: run the same score command again to add them.")
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): score the data again.") from error
