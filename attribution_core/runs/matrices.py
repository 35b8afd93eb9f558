"""Matrices of a run: effects ``[train, evaluation]`` and scores over training ``[times, train]``, as Zarr arrays.

Float32 in square chunks of a mebibyte, so that a row (what an example does) and a column (what an evaluation example
owes to whom) both cost a few reads, whatever the size. Zarr's arrays are plain files: nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from attribution_core.errors import InputError
from attribution_core.runs.files import directory_written_atomically

_CHUNK = 512


def write_matrix(
    path: Path, shape: tuple[int, int], blocks: Iterable[tuple[slice, np.ndarray]], attributes: dict[str, Any]
) -> None:
    """Writes a matrix a block of rows at a time.

    Args:
        path: ``effects/METHOD.zarr`` or ``evolution/MEASURE.zarr``; replaced when it exists.
        shape: ``(rows, columns)``.
        blocks: (rows, values ``[rows, columns]``), each row once.
        attributes: Plain data kept with it, such as the times of the rows.
    """
    with directory_written_atomically(path) as partial:
        chunks = (min(_CHUNK, max(1, shape[0])), min(_CHUNK, max(1, shape[1])))
        array = zarr.create_array(partial, shape=shape, chunks=chunks, dtype="float32", attributes=attributes)
        held, start = [], 0  # whole rows of chunks are written at once: a chunk written twice is compressed twice
        for _, values in blocks:
            held.append(np.asarray(values, dtype=np.float32))
            rows = sum(map(len, held))
            whole = rows if start + rows == shape[0] else rows // chunks[0] * chunks[0]
            if whole:
                ready = np.concatenate(held)
                array[start : start + whole] = ready[:whole]
                held, start = [ready[whole:]], start + whole
        if start != shape[0]:
            raise InputError(f"{path.name} was to have {shape[0]} rows, and {start + sum(map(len, held))} were given.")


def open_matrix(path: Path) -> zarr.Array:
    """Opens a matrix for reading; slices of it are float32 arrays.

    Raises:
        InputError: If the run has none, or it is damaged.
    """
    if not path.is_dir():
        raise InputError(f"The run has no {path.parent.name}/{path.name}: it was scored without that measure.")
    try:
        return zarr.open_array(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): score the data again.") from error
