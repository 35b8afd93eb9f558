"""Vectors that a sentence encoder made of a run's texts, kept in it: encoding may take longer than all the rest."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attribution_core.runs import RunWriter
from attribution_core.runs.names import ENCODINGS_FILE

_OF = "made_of"


def write_vectors(writer: RunWriter, vectors: dict[str, Tensor], made_of: str) -> None:
    """Writes the vectors of each split.

    Args:
        writer: The run.
        vectors: By split, ``[n, d]``.
        made_of: The data's fingerprint and the encoder.
    """
    with writer.path_for(ENCODINGS_FILE) as path:
        save_file({name: values.contiguous() for name, values in vectors.items()}, path, {_OF: made_of})


def read_vectors(run: Path | None, made_of: str) -> dict[str, Tensor] | None:
    """What :func:`write_vectors` wrote; None where there is none, or one that was made of something else."""
    file = run / ENCODINGS_FILE if run is not None else None
    if file is None or not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as found:
            if (found.metadata() or {}).get(_OF) != made_of:
                return None
            return {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118 -- it is no dict
    except (OSError, SafetensorError):  # they are made again
        return None
