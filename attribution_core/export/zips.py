"""Zip files in which equal exports have equal bytes."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attribution_core.export.provenance import Provenance

WHY_RENAMED = "because not every system can hold their names, or tell them apart"  # "a:b", "CON"; "cat" from "Cat"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date of the zip format, in place of the time of writing


@contextmanager
def zip_with_provenance(path: Path, provenance: Provenance) -> Iterator[zipfile.ZipFile]:
    """Open a new zip file for writing, and add the provenance as provenance.json when it is complete."""
    with zipfile.ZipFile(path, "w") as archive:
        yield archive
        archive.writestr(zip_entry("provenance.json"), provenance.text())


def add_file(archive: zipfile.ZipFile, name: str, source: Path) -> None:
    """Copy a file into the zip without reading it into memory at once."""
    with source.open("rb") as file, archive.open(zip_entry(name), "w", force_zip64=True) as entry:
        shutil.copyfileobj(file, entry)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file in the zip, without the time."""
    return zipfile.ZipInfo(name, _EPOCH)
