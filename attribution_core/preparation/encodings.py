"""Vectors that a sentence encoder or a frozen network made of a run's texts or images, kept in the run.

Making them may be the slowest step.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attribution_core.runs import RunWriter
from attribution_core.runs.names import ENCODINGS_FILE

_MADE_OF = "made_of"  # key of the file's metadata


def write_vectors(writer: RunWriter, vectors: dict[str, Tensor], made_of: str) -> None:
    """Write the vectors of each split.

    Args:
        writer: Writer of the run.
        vectors: Vectors of each split, ``[n, d]``.
        made_of: What identifies the data and the encoder or the network.
    """
    with writer.path_for(ENCODINGS_FILE) as path:
        save_file({name: values.contiguous() for name, values in vectors.items()}, path, {_MADE_OF: made_of})


def read_vectors(run: Path | None, made_of: str) -> dict[str, Tensor] | None:
    """Read what :func:`write_vectors` wrote; None if there is nothing, or it was made of other data."""
    file = run / ENCODINGS_FILE if run is not None else None
    if file is None or not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as found:
            if (found.metadata() or {}).get(_MADE_OF) != made_of:
                return None
            return {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118 -- not a dict
    except (OSError, SafetensorError):  # unreadable vectors are made again
        return None
