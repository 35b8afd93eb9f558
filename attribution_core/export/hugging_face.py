"""Writer of a saved Hugging Face dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa

from attribution_core.datasets.formats import hugging_face
from attribution_core.export.arrow_rows import changed_labels, changed_table, column_index
from attribution_core.export.changes import RowChanges, row_changes
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.zips import add_file, zip_entry, zip_with_provenance
from attribution_core.progress import report, track

_DATA, _STATE, _INFO = "data-00000-of-00001.arrow", "state.json", "dataset_info.json"
_SUFFIXES = (".arrow", ".json")  # of what the library writes


def write(examples: CleanedExamples, path: Path) -> None:
    """Write a zip of the folder that ``save_to_disk`` makes, with the decisions applied; nothing else changes.

    A dataset of the hub has the files that saving it would make, with all its columns and features.
    """
    with zip_with_provenance(path, examples.provenance) as archive:
        if examples.splits.location:
            _write_saved(archive, Path(examples.splits.location), examples)
        else:
            _write_named(archive, examples)


def _write_saved(archive: ZipFile, folder: Path, examples: CleanedExamples) -> None:
    changes, label, start = row_changes(examples), examples.listing.target, 0
    by_file: dict[Path, RowChanges] = {}
    for file in hugging_face.files_of(folder):
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
            count = sum(batch.num_rows for batch in reader)
        by_file[file] = changes.within(start, count)
        start += count
    found = (file for file in folder.rglob("*") if file.is_file() and file.suffix in _SUFFIXES)
    files = sorted(file for file in found if not file.name.startswith((".", "cache-")))
    for file in track(files, len(files), "export"):
        name = file.relative_to(folder).as_posix()
        inside = {each.name: new for each, new in by_file.items() if each.parent == file.parent and new}
        if by_file.get(file):
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
                _write_table(archive, name, reader.read_all(), label, by_file[file], _features(file.with_name(_INFO)))
        elif inside and file.name == _STATE:
            state = json.loads(file.read_text(encoding="utf-8"))
            archive.writestr(zip_entry(name), json.dumps({**state, "_fingerprint": _fingerprint(examples, name)}))
        elif inside and file.name == _INFO:
            archive.writestr(zip_entry(name), _with_count(file, sum(len(each.dropped) for each in inside.values())))
        else:
            add_file(archive, name, file)


def _write_named(archive: ZipFile, examples: CleanedExamples) -> None:
    changes, start = row_changes(examples), 0
    tables, _ = hugging_face.named_tables(examples.splits.name.removeprefix(hugging_face.PREFIX))
    archive.writestr(zip_entry("dataset_dict.json"), json.dumps({"splits": list(tables)}))
    for done, (split, table) in enumerate(tables.items(), start=1):
        inside = changes.within(start, len(table))
        start += len(table)
        _write_table(archive, f"{split}/{_DATA}", table, examples.listing.target, inside, None)
        features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
        state: dict[str, Any] = {
            "_data_files": [{"filename": _DATA}],
            "_fingerprint": _fingerprint(examples, split),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        archive.writestr(zip_entry(f"{split}/{_STATE}"), json.dumps(state))
        archive.writestr(zip_entry(f"{split}/{_INFO}"), json.dumps({"features": features.get("features")}))
        report(done, len(tables), "export")


def _write_table(
    archive: ZipFile, name: str, table: pa.Table, label: str, changes: RowChanges, stated: dict[str, Any] | None
) -> None:
    """Write the rows that stay as an Arrow stream, in their types and with their metadata."""
    index = column_index(table.schema, label)
    labels, schema = changed_labels(table.column(index), table.schema, index, changes, stated)
    changed = changed_table(table, index, labels, schema, changes.kept(len(table)).tolist())
    with archive.open(zip_entry(name), "w", force_zip64=True) as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(changed)


def _features(info: Path) -> dict[str, Any] | None:
    """Return the features that ``dataset_info.json`` states, if it does."""
    features = json.loads(info.read_text(encoding="utf-8")).get("features") if info.is_file() else None
    return features if isinstance(features, dict) else None


def _fingerprint(examples: CleanedExamples, part: str) -> str:
    """Return a fingerprint of a split's rows: the library caches results under it, so no two exports may share one."""
    return hashlib.sha256(f"{examples.provenance.text()} {part}".encode()).hexdigest()[:16]


def _with_count(file: Path, dropped: int) -> str:
    """Return the content of ``dataset_info.json`` with the number of rows that stay, where it states one."""
    info = json.loads(file.read_text(encoding="utf-8"))
    split = (info.get("splits") or {}).get(file.parent.name)
    if dropped and isinstance(split, dict) and isinstance(split.get("num_examples"), int):
        split["num_examples"] -= dropped
    return json.dumps(info)
