"""Export of a run's cleaned dataset: the decisions are applied, and nothing in the source is changed.

Only an export needs the datasets, so this module is imported on demand and not by the package.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa

from attribution_core.datasets import Splits, TorchData, format_of, open_dataset, opens_by_name, with_decisions
from attribution_core.datasets.evaluated import evaluated_first
from attribution_core.errors import InputError
from attribution_core.export import (
    class_files,
    csv_list,
    folder,
    hugging_face,
    idx,
    manifest,
    npz,
    parquet,
    tables,
)
from attribution_core.export.changes import note_others
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.provenance import provenance_of
from attribution_core.export.torch_objects import write_positions
from attribution_core.runs.cleaned import cleaned_table, counts_by_split, decided_labels
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import APPLIED_DECISIONS_FILE
from attribution_core.runs.schema import DatasetSummary
from attribution_core.runs.store import Run

Format = Literal["csv", "parquet", "folder", "same"]
Data = str | TorchData | Splits | None
Writer = Callable[[CleanedExamples, Path], None]

_LIST, _TORCH = "csv", "torch"
_CONVERSIONS: dict[str, Writer] = {"folder": folder.write, "parquet": parquet.write}
# For each format of the data, the writer of the original format.
_WRITERS: dict[str, Writer] = {
    "folder": class_files.write,
    "parquet": tables.write_images,
    "arrow": tables.write_arrow,
    "manifest": manifest.write,
    "npz": npz.write,
    "idx": idx.write,
    "hugging_face": hugging_face.write,
    "rows": tables.write,
    "text": class_files.write,
}
_SPLIT_OPTIONS = ("seed", "validation_fraction", "test_fraction", "max_train", "target", "task")


@dataclass(frozen=True)
class ExportSummary:
    """The result of an export.

    Attributes:
        counts: By split ("train", "validation", "test"), the numbers of examples that are ``"kept"`` (with the
            relabeled ones), ``"dropped"`` and ``"relabelled"``.
        path: The exported file.
        notes: Sentences that a user should read: what is not as it was in the data, and why.
    """

    counts: dict[str, dict[str, int]]
    path: Path
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Number of training examples that stay, with the relabeled ones."""
        return self.counts["train"]["kept"]

    @property
    def dropped(self) -> int:
        """Number of dropped training examples."""
        return self.counts["train"]["dropped"]

    @property
    def relabelled(self) -> int:
        """Number of relabeled training examples."""
        return self.counts["train"]["relabelled"]


def export_run(run: Run, format: Format, out: Path, data: Data = None) -> ExportSummary:
    """Write the dataset with the reviewer's decisions applied, and its provenance.

    For a run that was retrained on a cleaned dataset, the decisions that cleaned it are applied and listed, too.

    Args:
        run: The reviewed run.
        format: ``"csv"`` lists every example with its final label, its label in the data, the action, the scores and
            the split. ``"parquet"`` is the cleaned dataset in the Hugging Face image convention. ``"folder"`` is a zip
            of class folders. ``"same"`` is the data as they came, in which only dropped examples and changed labels
            differ: a zip for a folder, else a file of the same kind; and for a torch dataset a CSV of the positions
            that stay (see :func:`attribution_core.cleaned_dataset`). All but the two CSV lists need the dataset itself.
        out: File to write; it must not exist.
        data: Present location of the dataset, if it was moved after scoring; or the torch dataset that was scored, or
            its splits from ``open_dataset``.

    Returns:
        The counts and the path.

    Raises:
        InputError: If the format is unknown or does not fit the data, ``out`` exists or has another suffix than
            ``"same"`` needs, or the dataset is missing or has changed since it was scored.
    """
    if format not in get_args(Format):
        raise InputError(f"The format of an export is one of {', '.join(get_args(Format))}; {format!r} was given.")
    out = Path(out).resolve()
    if out.exists():
        raise InputError(f"{out} already exists: choose another name.")
    _require_fit(run, format)
    form, suffix = _form(run, format, data), suffix_of(run, format, data)
    if format == "same" and out.suffix.lower() != suffix:
        raise InputError(
            f"The original format of the data of {run.id} needs a file name that ends in {suffix}; {out.name} was "
            "given: change the name."
        )
    table = cleaned_table(run)
    summary = ExportSummary(counts_by_split(table), out)
    if format == "same" and not summary.kept:
        raise InputError(f"The decisions of {run.id} drop every training example: keep at least one.")
    provenance = provenance_of(run, form, table, summary.counts)
    if form == _LIST:
        provenance.notes.append(csv_list.NOTE)
        write: Callable[[Path], None] = partial(csv_list.write_list, run, table)
    elif form == _TORCH:
        write = partial(write_positions, run)
    else:
        splits = _reopen(run, data)
        examples = CleanedExamples.of(splits, decided_labels(run), table, provenance)
        writer = _writer(format, form, splits)
        if writer not in _CONVERSIONS.values():
            note_others(examples)
        write = partial(writer, examples)
    try:
        with written_atomically(out) as file:
            write(file)
        if suffix != ".zip":
            with written_atomically(out.with_name(f"{out.name}.provenance.json")) as file:
                file.write_text(provenance.text(), encoding="utf-8")
    except (OSError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise InputError(f"The export {out} cannot be written: {error}.") from error
    return dataclasses.replace(summary, notes=provenance.notes)


def suffix_of(run: Run, format: Format, data: Data = None) -> str:
    """Return the suffix of the file that an export writes.

    Raises:
        InputError: If the format is ``"same"`` and the data are missing or of a format that cannot be written.
    """
    form = _form(run, format, data)
    if form in (_LIST, _TORCH):
        return ".csv"
    if format in _CONVERSIONS:
        return ".zip" if format == "folder" else f".{format}"
    if form not in _WRITERS:
        raise InputError(f"The data of {run.id} are {form}, which an export cannot write: use format csv, a list.")
    location = Path(_location(run, data))
    if location == Path():  # of a name: built in, or of the Hugging Face hub
        return ".parquet" if form == "parquet" else ".zip"
    return ".zip" if location.is_dir() else location.suffix.lower()


def _writer(format: Format, form: str, splits: Splits) -> Writer:
    """Return the writer of a format; a built-in dataset has no files, so that its original format is a conversion."""
    return _CONVERSIONS[form] if format != "same" or (form == "parquet" and not splits.location) else _WRITERS[form]


def _location(run: Run, data: Data) -> str:
    """Return where the data are; empty for data that open by name."""
    if isinstance(data, Splits):
        return data.location
    where = str(data or _dataset(run).location)
    return "" if opens_by_name(where) else where


def _form(run: Run, format: Format, data: Data) -> str:
    """Return what is written: the chosen format, or for ``"same"`` the format of the data, a key of the writers."""
    if format != "same":
        return str(format)
    if data is not None and not isinstance(data, Splits):
        return format_of(data)
    source = data or _dataset(run)
    if not source.location and not opens_by_name(source.name):
        return _TORCH
    return format_of(source.location or source.name)


def _require_fit(run: Run, format: Format) -> None:
    """Refuse a format that cannot hold the run's examples or labels."""
    if format in ("folder", "parquet") and run.manifest.dataset and run.manifest.dataset.mode in ("text", "table"):
        raise InputError(
            f"Format {format} needs images, and the examples of {run.id} are not images: use format same (the original "
            "format) or csv (a list)."
        )
    if format == "folder" and run.values is not None:
        raise InputError(
            f"Format folder needs classes, and the labels of {run.id} are values, not classes: use format same (the "
            "original format), parquet or csv."
        )


def _dataset(run: Run) -> DatasetSummary:
    if run.manifest.dataset is None:
        raise InputError(f"The run {run.id} does not say which dataset it scored: run its score command again.")
    return run.manifest.dataset


def _reopen(run: Run, data: Data) -> Splits:
    """Open the dataset that the run scored, and refuse one that has changed."""
    dataset = _dataset(run)
    if data is None and _form(run, "same", data) == _TORCH:
        raise InputError(
            f"The examples of {run.id} are in a torch dataset ({dataset.name}), which only a program has: use format "
            "csv (a list) or same (positions), or call export_run in Python with data=DATASET."
        )
    if isinstance(data, Splits):
        splits, where = data, data.location or data.name
    else:
        options = {name: run.manifest.config[name] for name in _SPLIT_OPTIONS if name in run.manifest.config}
        place = data or dataset.location or dataset.name  # a built-in dataset has a name and no location
        splits = open_dataset(place, **options)
        where = splits.location or splits.name
    if (run.path / APPLIED_DECISIONS_FILE).is_file():
        splits = with_decisions(splits, run.path / APPLIED_DECISIONS_FILE)
    splits = evaluated_first(splits, run.manifest.config.get("max_evaluation"), run.manifest.config.get("seed", 0))
    found = splits.fingerprint()
    if found != dataset.fingerprint:
        raise InputError(
            f"The data at {where} are not those that were scored (their fingerprint was {dataset.fingerprint[:12]}, "
            f"now it is {found[:12]}): score them again, or give the location of the scored data."
        )
    return splits
