"""Embeddings of a run's examples: one float32 matrix for each split, mapped into memory when it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import embeddings_file


def write_embeddings(run: Path, split: str, values: np.ndarray) -> None:
    """Write the embeddings of a split.

    Args:
        run: The run's directory.
        split: ``"train"`` or ``"evaluation"``.
        values: One row for each row of the split's table, ``[rows, d]``.
    """
    with written_atomically(run / embeddings_file(split)) as partial, partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(values, dtype=np.float32), allow_pickle=False)


def read_embeddings(run: Path, split: str) -> np.ndarray:
    """Map the embeddings of a split into memory.

    Returns:
        ``[rows, d]``, float32.

    Raises:
        InputError: If the run has no embeddings, or the file is damaged.
    """
    file = run / embeddings_file(split)
    if not file.is_file():
        raise InputError(f"The run {run.name} has no embeddings: run the same score command again to add them.")
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): score the data again.") from error
