"""Writer of IDX files, the format of MNIST."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

from attribution_core.export.examples import CleanedExamples
from attribution_core.export.zips import zip_entry, zip_with_provenance
from attribution_core.progress import report

_PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of IDX files that begin with ``train-``, ``t10k-`` (test) and ``validation-``."""
    numbers = np.array([int(name) for name in examples.splits.train.class_names])
    with zip_with_provenance(path, examples.provenance) as archive:
        for done, (split, prefix) in enumerate(_PREFIXES.items(), start=1):
            part, rows = getattr(examples.splits, split), examples.of_split(split)
            images = np.stack([np.asarray(part[position][0]) for position in rows["position"]])
            labels = numbers[rows["label"].to_numpy()]
            archive.writestr(zip_entry(f"{prefix}-images-idx3-ubyte"), _idx(images), zipfile.ZIP_DEFLATED)
            archive.writestr(zip_entry(f"{prefix}-labels-idx1-ubyte"), _idx(labels), zipfile.ZIP_DEFLATED)
            report(done, len(_PREFIXES), "export")


def _idx(array: np.ndarray) -> bytes:
    """Encode an array as an IDX file of unsigned bytes."""
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()
