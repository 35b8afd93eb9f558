"""Writer of IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np

from attribution_core.datasets.formats.idx import PREFIXES, files_of, read_array
from attribution_core.export.changes import row_changes
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.zips import add_file, zip_entry, zip_with_provenance
from attribution_core.progress import report


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of the original files, with the decisions applied to those of each split."""
    by_prefix = {PREFIXES[part]: row_changes(examples, part) for part in examples.listing.parts}
    files = files_of(Path(examples.splits.location))
    with zip_with_provenance(path, examples.provenance) as archive:
        for done, file in enumerate(files, start=1):
            changes = by_prefix[file.name.partition("-")[0]]
            if changes:
                array = read_array(file, 3 if "images" in file.name else 1).copy()
                if array.ndim == 1:
                    for row, label in changes.labels.items():
                        array[row] = int(label)
                content = _idx(array[changes.kept(len(array))])
                packed = gzip.compress(content, mtime=0) if file.suffix == ".gz" else content
                archive.writestr(zip_entry(file.name), packed, zipfile.ZIP_DEFLATED)
            else:
                add_file(archive, file.name, file)
            report(done, len(files), "export")


def _idx(array: np.ndarray) -> bytes:
    """Encode an array as an IDX file of unsigned bytes."""
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()
