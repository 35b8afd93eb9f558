"""Matrices of a run: effects ``[train, evaluation]`` and scores over training ``[times, train]``, as Zarr arrays.

They are float32 in square chunks of one mebibyte, so that a row (all effects of a training example) and a column (all
effects on an evaluation example) both take a few reads, whatever the size. Zarr arrays are plain files: nothing is
unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution_core.errors import InputError
from attribution_core.runs.files import directory_written_atomically

if TYPE_CHECKING:
    import zarr

_CHUNK = 512


def write_matrix(
    path: Path, shape: tuple[int, int], blocks: Iterable[tuple[slice, np.ndarray]], attributes: dict[str, Any]
) -> None:
    """Write a matrix from blocks of rows.

    Args:
        path: ``effects/METHOD.zarr`` or ``evolution/MEASURE.zarr``; replaced if it exists.
        shape: ``(rows, columns)``.
        blocks: Pairs of (rows, values ``[rows, columns]``), in order and with each row once.
        attributes: Plain data to store with the matrix, such as the times of the rows.

    Raises:
        InputError: If the number of rows in the blocks is not that of the shape.
    """
    import zarr  # here, since a run has scores to look at before it has a matrix, and loading takes time

    with directory_written_atomically(path) as partial:
        chunks = (min(_CHUNK, max(1, shape[0])), min(_CHUNK, max(1, shape[1])))
        array = zarr.create_array(partial, shape=shape, chunks=chunks, dtype="float32", attributes=attributes)
        held, start = [], 0  # write whole rows of chunks: a chunk written twice is compressed twice
        for _, values in blocks:
            held.append(np.asarray(values, dtype=np.float32))
            rows = sum(map(len, held))
            whole = rows if start + rows == shape[0] else rows // chunks[0] * chunks[0]
            if whole:
                ready = np.concatenate(held)
                array[start : start + whole] = ready[:whole]
                held, start = [ready[whole:]], start + whole
        if start != shape[0]:
            given = start + sum(map(len, held))
            raise InputError(f"{path.name} needs {shape[0]} rows, and {given} were given: give each row once.")


def open_matrix(path: Path) -> zarr.Array:
    """Open a matrix for reading; slices of it are float32 arrays.

    Raises:
        InputError: If the run does not have the matrix, or it is damaged.
    """
    import zarr  # here, as above

    if not path.is_dir():
        raise InputError(f"The run has no {path.parent.name}/{path.name}: it was scored without that measure.")
    try:
        return zarr.open_array(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): score the data again.") from error
