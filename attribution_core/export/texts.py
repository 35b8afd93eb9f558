"""Writer of text files in class folders."""

from __future__ import annotations

import zipfile
from pathlib import Path

from attribution_core.export.examples import CleanedExamples
from attribution_core.export.zips import zip_entry, zip_with_provenance
from attribution_core.progress import track
from attribution_core.runs.names import UniqueNames


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of text files: ``SPLIT/CLASS/NAME.txt``, or ``SPLIT/CLASS.txt`` where each line is a text."""
    splits, rows = examples.splits, examples.rows
    folders, files = UniqueNames(), UniqueNames()
    class_folders = [folders.take(name) for name in splits.train.class_names]
    lines: dict[str, list[str]] = {}
    with zip_with_provenance(path, examples.provenance) as archive:
        entries = zip(rows["id"], rows["split"], rows["position"], rows["label"], strict=True)
        for id_, split, position, label in track(entries, len(rows), "export"):
            text, _ = getattr(splits, split)[position]
            folder = f"{split}/{class_folders[label]}"
            if _is_line(id_):
                lines.setdefault(folder, []).append(text)
            else:
                name = files.take(id_.rpartition("/")[2].removesuffix(".txt"), ".txt")
                archive.writestr(zip_entry(f"{folder}/{name}"), text, zipfile.ZIP_DEFLATED)
        for folder, texts in lines.items():
            archive.writestr(zip_entry(f"{folder}.txt"), "\n".join(texts) + "\n", zipfile.ZIP_DEFLATED)


def _is_line(id_: str) -> bool:
    """Whether the example is a line of a file: its id is then ``FILE.txt:NUMBER``."""
    file, _, number = id_.rpartition(":")
    return file.endswith(".txt") and number.isdecimal()
