"""Zip files in which equal exports have equal bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date of the zip format, in place of the time of writing


@contextmanager
def zip_with_provenance(path: Path, provenance: str) -> Iterator[zipfile.ZipFile]:
    """Open a new zip file for writing that already holds ``provenance`` as provenance.json."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zip_entry("provenance.json"), provenance)
        yield archive


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file in the zip, without the time."""
    return zipfile.ZipInfo(name, _EPOCH)
