"""The cleaned dataset: decisions applied, nothing in the source touched.

Imported as ``attribution_core.export.export`` and not with the package, since only an export needs the datasets.
"""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from attribution_core.datasets import Splits, TorchData, format_of, open_dataset, opens_by_name, with_decisions
from attribution_core.datasets.formats.tables import rows_suffix
from attribution_core.errors import InputError
from attribution_core.export.forms import write_idx, write_manifest, write_npz, write_saved
from attribution_core.export.images import write_folder, write_parquet
from attribution_core.export.rows import write_rows, write_texts
from attribution_core.export.torch_objects import write_positions
from attribution_core.runs.cleaned import cleaned_table
from attribution_core.runs.files import now, written_atomically
from attribution_core.runs.labels import label_texts
from attribution_core.runs.names import APPLIED_DECISIONS_FILE
from attribution_core.runs.schema import DatasetSummary
from attribution_core.runs.store import Run

Format = Literal["csv", "parquet", "folder", "same"]
Writer = Callable[[Splits, pd.DataFrame, Path, str], None]

_LIST, _TORCH, _MANIFEST, _ROWS = "csv", "torch", "manifest", "rows"
# By the form that is written: what the file's name ends in, and what writes the examples into it.
_WRITERS: dict[str, tuple[str, Writer]] = {
    "folder": (".zip", write_folder),
    "parquet": (".parquet", write_parquet),
    _MANIFEST: ("", write_manifest),  # its suffix is its source's
    "npz": (".npz", write_npz),
    "idx": (".zip", write_idx),
    "hugging_face": (".zip", write_saved),
    _ROWS: ("", write_rows),  # its suffix is its source's, too
    "text": (".zip", write_texts),
}
_SPLIT_OPTIONS = ("seed", "validation_fraction", "test_fraction", "max_train", "target", "task")
_FORMULA = r"^[=+\-@\t\r]"  # a spreadsheet runs a cell that begins with one of these
_CSV_NOTE = (
    "A text that began with = + - @, a tab or a return has an apostrophe before it: spreadsheets run it otherwise."
)


@dataclass(frozen=True)
class ExportSummary:
    """What was exported: how many training examples stay (relabelled ones among them), how many went, and where to."""

    kept: int
    dropped: int
    relabelled: int
    path: Path


def export_run(
    run: Run,
    format: Format,
    out: Path,
    data: str | TorchData | Splits | None = None,
) -> ExportSummary:
    """Writes the training set with the reviewer's decisions applied, and a provenance file.

    Of a run that was retrained on a cleaned set, the decisions that cleaned it are applied and listed too.

    Args:
        run: The reviewed run.
        format: ``"csv"`` lists every training example with its final label, the label in the data, the action and the
            scores. ``"parquet"`` is the cleaned set in the Hugging Face image convention. ``"folder"`` is a zip of
            class folders. ``"same"`` is the form that the data came in: of a folder of classes, IDX files and a saved
            Hugging Face dataset a zip of such a folder, of a Parquet file, an .npz or a manifest such a file, and of a
            torch dataset a CSV of the positions that stay (for more see :func:`attribution_core.cleaned_dataset`).
            All but the lists need the dataset itself and bring validation and test along unchanged.
        out: The file to write; it must not exist.
        data: Where the dataset lies now, if it has moved since it was scored; or the torch dataset that was scored, or
            what ``open_dataset`` made of it.

    Returns:
        The counts and the path.

    Raises:
        InputError: If the format is unknown, ``out`` exists or does not end as ``"same"`` demands, or the dataset is
            gone or is no longer the one scored.
    """
    if format not in get_args(Format):
        raise InputError(f"An export's format is one of {', '.join(get_args(Format))}, not {format!r}.")
    out = Path(out).resolve()
    if out.exists():
        raise InputError(f"{out} exists already: give another name.")
    form = _form(run, data) if format == "same" else str(format)
    if format in ("folder", "parquet") and run.manifest.dataset and run.manifest.dataset.mode in ("text", "table"):
        raise InputError(f"The examples of {run.id} are no images: export them as they came (same), or the list (csv).")
    if format == "folder" and run.values is not None:
        raise InputError(f"The labels of {run.id} are values, not classes: export as it came (same), parquet or csv.")
    suffix = suffix_of(run, format, data)
    if format == "same" and out.suffix.lower() != suffix:
        raise InputError(f"A name that ends in {suffix} was expected, for the form of {run.id}'s data, not {out.name}.")
    table = cleaned_table(run)
    summary = _summarize(table, out)
    if format == "same" and not summary.kept:
        raise InputError(f"The decisions of {run.id} drop every training example: keep some.")
    provenance = _provenance(run, form, summary, table)
    if form in (_LIST, _TORCH):
        with written_atomically(out) as partial:
            _write_list(run, table, partial) if form == _LIST else write_positions(run, partial)
    else:
        splits = _reopen(run, data)
        with written_atomically(out) as partial:
            _WRITERS[form][1](splits, run.cleaned_labels(), partial, provenance)
    if suffix != ".zip":
        with written_atomically(out.with_name(f"{out.name}.provenance.json")) as partial:
            partial.write_text(provenance, encoding="utf-8")
    return summary


def suffix_of(run: Run, format: Format, data: str | TorchData | Splits | None = None) -> str:
    """What the name of an export ends in.

    Raises:
        InputError: If the form of the data is asked for, and they are gone or of a form that is not written.
    """
    form = _form(run, data) if format == "same" else str(format)
    if form in (_LIST, _TORCH):
        return ".csv"
    if form not in _WRITERS:
        raise InputError(f"The data of {run.id} are {form}, which an export does not write yet: export the list (csv).")
    if form in (_MANIFEST, _ROWS):
        where = data.location if isinstance(data, Splits) else data or _dataset(run).location
        return rows_suffix(Path(str(where)))
    return _WRITERS[form][0]


def _form(run: Run, data: str | TorchData | Splits | None) -> str:
    """The form that the run's data came in, or come in now."""
    if data is not None and not isinstance(data, Splits):
        return format_of(data)
    source = data or _dataset(run)
    if not source.location and not opens_by_name(source.name):
        return _TORCH
    return format_of(source.location or source.name)


def _write_list(run: Run, table: pd.DataFrame, path: Path) -> None:
    # Texts are quoted always: a lone return inside one would else end the row.
    _csv_frame(run, table).to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)


def _safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Puts an apostrophe before each text that a spreadsheet would run as a formula; numbers stay as they are."""
    safe = frame.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            text = safe[column].astype("str")
            safe[column] = text.where(~text.str.match(_FORMULA, na=False), "'" + text)
    return safe


def _summarize(table: pd.DataFrame, out: Path) -> ExportSummary:
    dropped = int((table["action"] == "drop").sum())
    return ExportSummary(
        kept=len(table) - dropped,
        dropped=dropped,
        relabelled=int((table["action"] == "relabel").sum()),
        path=out,
    )


def _csv_frame(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "id": table["id"],
            "label": _as_listed(run, table["label"]),
            "label_in_data": _as_listed(run, table["label_in_data"]),
            "action": table["action"],
            "decided": table["time"],
        }
    )
    return _safe_cells(pd.concat([frame, run.examples[run.scores]], axis=1))


def _as_listed(run: Run, labels: pd.Series) -> np.ndarray:
    """Names of classes, or values as the numbers that they are."""
    return labels.to_numpy() if run.values is not None else label_texts(labels.to_numpy(), run.class_names)


def _provenance(run: Run, form: str, summary: ExportSummary, table: pd.DataFrame) -> str:
    """Where the export comes from, as JSON."""
    decided = table[table["action"] != ""]
    dataset = run.manifest.dataset
    record: dict[str, Any] = {
        "tool": f"samplescope {version('samplescope')}",
        "python": platform.python_version(),
        "date": now(),
        "format": form,
        "notes": [_CSV_NOTE] if form == _LIST else [],
        "run": {"id": run.id, "title": run.title, "created": run.manifest.created},
        "fingerprints": {
            "configuration": run.manifest.fingerprint,
            "dataset": dataset.fingerprint if dataset is not None else "",
        },
        "dataset": {"name": dataset.name, "location": dataset.location} if dataset is not None else {},
        "counts": {"kept": summary.kept, "dropped": summary.dropped, "relabelled": summary.relabelled},
        "decisions": [
            {"id": id_, "action": action, "label_in_data": old, "label": new, "time": time}
            for id_, action, old, new, time in zip(
                decided["id"],
                decided["action"],
                _as_listed(run, decided["label_in_data"]).tolist(),
                _as_listed(run, decided["label"]).tolist(),
                decided["time"],
                strict=True,
            )
        ],
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _dataset(run: Run) -> DatasetSummary:
    if run.manifest.dataset is None:
        raise InputError(f"The run {run.id} does not say which dataset it scored: run its score command again.")
    return run.manifest.dataset


def _reopen(
    run: Run,
    data: str | TorchData | Splits | None,
) -> Splits:
    """The dataset that the run was scored on, or a refusal if it has changed."""
    dataset = _dataset(run)
    if data is None and _form(run, data) == _TORCH:
        raise InputError(
            f"The examples of {run.id} are in a torch dataset ({dataset.name}), which only a program has: export the "
            "list (csv) or the positions (same), or call export_run in Python with data=DATASET."
        )
    if isinstance(data, Splits):
        splits, where = data, data.location or data.name
    else:
        options = {name: run.manifest.config[name] for name in _SPLIT_OPTIONS if name in run.manifest.config}
        place = data or dataset.location or dataset.name  # a dataset known by its name has no location
        splits = open_dataset(place, **options)
        where = splits.location or splits.name
    if (run.path / APPLIED_DECISIONS_FILE).is_file():
        splits = with_decisions(splits, run.path / APPLIED_DECISIONS_FILE)
    found = splits.fingerprint()
    if found != dataset.fingerprint:
        raise InputError(
            f"The data at {where} are not those that were scored (fingerprint "
            f"{dataset.fingerprint[:12]} then, {found[:12]} now): score them again, or say where the scored ones lie."
        )
    return splits
