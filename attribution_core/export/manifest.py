"""Writer of a manifest, a table of image paths and labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.manifest import ImageManifest, read_manifest
from attribution_core.datasets.formats.row_files import JSON_LINES
from attribution_core.export.changes import row_changes
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.text_rows import (
    delimited_labels,
    json_labels,
    read_json_texts,
    write_delimited,
    write_json_lines,
)
from attribution_core.progress import report


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the original manifest with the decisions applied; every other cell stays as it is.

    Images stay where they are. In another folder than the original's, the paths that lead from there are rewritten:
    relative if the image is below the folder of the new manifest, else absolute. The provenance says so.
    """
    source = Path(examples.splits.location)
    changes, label = row_changes(examples), examples.listing.target
    manifest = read_manifest(source, examples.splits.target)
    paths = dict(_paths(manifest, path.resolve().parent))
    if paths:
        examples.provenance.notes.append(
            f"{len(paths):,} paths of images lead from the folder of the export, since the manifest is no longer in "
            f"{source.parent}: write the export into that folder to keep them as they are."
        )
    if source.suffix.lower() == JSON_LINES:
        lines = read_json_texts(source)
        by_name: dict[int, dict[str, str]] = {
            row: {manifest.path_column: json.dumps(text, ensure_ascii=False)} for row, text in paths.items()
        }
        for row, text in json_labels(lines, label, changes).items():
            by_name.setdefault(row, {})[label] = text
        write_json_lines(lines, path, changes.dropped, by_name)
    else:
        rows = read_delimited(source)
        path_column, label_column = (manifest.columns.index(name) for name in (manifest.path_column, label))
        by_position = {row: {path_column: text} for row, text in paths.items()}
        for row, text in delimited_labels(rows, label_column, changes).items():
            by_position.setdefault(row, {})[label_column] = text
        write_delimited(rows, path, changes.dropped, by_position)
    report(1, 1, "export")


def _paths(manifest: ImageManifest, folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the rows whose path would not lead to the image from this folder, with the path that does."""
    if folder == manifest.file.resolve().parent:
        return
    for row in range(len(manifest.rows)):
        written = Path(str(manifest.rows[row][manifest.path_column]))
        image = manifest.image(row).absolute()
        if image != written:
            yield row, (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()
