"""Writer of class folders."""

from __future__ import annotations

from pathlib import Path

from attribution_core.export.examples import CleanedExamples, image_files
from attribution_core.export.zips import WHY_RENAMED, zip_entry, zip_with_provenance
from attribution_core.runs.names import UniqueNames


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of SPLIT/CLASS/FILE, with the bytes of the original files where the dataset has them, else PNG."""
    folders, names = UniqueNames(), dict[str, UniqueNames]()
    class_folders = {name: folders.take(name) for name in examples.splits.train.class_names}
    examples.provenance.note_renamed("classes", class_folders, WHY_RENAMED)
    labels = [class_folders[examples.splits.train.class_names[label]] for label in examples.rows["label"]]
    rows = examples.rows
    with zip_with_provenance(path, examples.provenance) as archive:
        files = image_files(examples.splits, rows)
        for (stem, data, suffix), split, label in zip(files, rows["split"], labels, strict=True):
            folder = f"{split}/{label}"
            name = names.setdefault(folder, UniqueNames()).take(stem, suffix)
            archive.writestr(zip_entry(f"{folder}/{name}"), data)
