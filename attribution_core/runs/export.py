"""The cleaned dataset: decisions applied, nothing in the source touched.

Imported as ``attribution_core.runs.export`` and not with the package, since only an export needs the datasets.
"""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from attribution_core.datasets import Splits, open_dataset, with_decisions
from attribution_core.errors import InputError
from attribution_core.progress import Progress
from attribution_core.runs.cleaned import APPLIED, cleaned_table
from attribution_core.runs.export_images import write_folder, write_parquet
from attribution_core.runs.files import now, written_atomically
from attribution_core.runs.safe_names import safe_cells
from attribution_core.runs.store import Run

Format = Literal["csv", "parquet", "folder"]
SUFFIXES: dict[Format, str] = {"csv": ".csv", "parquet": ".parquet", "folder": ".zip"}

_SPLIT_OPTIONS = ("seed", "validation_fraction", "test_fraction", "max_train")
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
    run: Run, format: Format, out: Path, progress: Progress | None = None, data: str | None = None
) -> ExportSummary:
    """Writes the training set with the reviewer's decisions applied, and a provenance file.

    Of a run that was retrained on a cleaned set, the decisions that cleaned it are applied and listed too.

    Args:
        run: The reviewed run.
        format: ``"csv"`` lists every training example with its final label, the label in the data, the action and the
            scores. ``"parquet"`` is the cleaned set in the Hugging Face image convention. ``"folder"`` is a zip of
            class folders. The last two need the dataset itself and bring validation and test along unchanged.
        out: The file to write; it must not exist.
        progress: Called with (done, total, what).
        data: Where the dataset lies now, if it has moved since it was scored.

    Returns:
        The counts and the path.

    Raises:
        InputError: If the format is unknown, ``out`` exists, or the dataset is gone or is no longer the one scored.
    """
    if format not in get_args(Format):
        raise InputError(f"An export's format is one of {', '.join(get_args(Format))}, not {format!r}.")
    out = Path(out).resolve()
    if out.exists():
        raise InputError(f"{out} exists already: give another name.")
    table = cleaned_table(run)
    summary = _summarize(table, out)
    provenance = _provenance(run, format, summary, table)
    if format == "csv":
        with written_atomically(out) as partial:
            # Texts are quoted always: a lone return inside one would else end the row.
            _csv_frame(run, table).to_csv(partial, index=False, quoting=csv.QUOTE_NONNUMERIC)
    else:
        splits = _reopen(run, data, progress)
        write = write_parquet if format == "parquet" else write_folder
        with written_atomically(out) as partial:
            write(splits, run.cleaned_labels(), partial, provenance, progress)
    if format != "folder":
        with written_atomically(out.with_name(f"{out.name}.provenance.json")) as partial:
            partial.write_text(provenance, encoding="utf-8")
    return summary


def _summarize(table: pd.DataFrame, out: Path) -> ExportSummary:
    dropped = int((table["action"] == "drop").sum())
    return ExportSummary(
        kept=len(table) - dropped,
        dropped=dropped,
        relabelled=int((table["action"] == "relabel").sum()),
        path=out,
    )


def _csv_frame(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    names = pd.Series(run.class_names, dtype="str")
    frame = pd.DataFrame(
        {
            "id": table["id"],
            "label": names.reindex(table["label"]).to_numpy(),
            "label_in_data": names.reindex(table["label_in_data"]).to_numpy(),
            "action": table["action"],
            "decided": table["time"],
        }
    )
    return safe_cells(pd.concat([frame, run.examples[run.scores]], axis=1))


def _provenance(run: Run, format: Format, summary: ExportSummary, table: pd.DataFrame) -> str:
    """Where the export comes from, as JSON."""
    decided = table[table["action"] != ""]
    names = run.class_names
    dataset = run.manifest.dataset
    record: dict[str, Any] = {
        "tool": f"samplescope {version('samplescope')}",
        "python": platform.python_version(),
        "date": now(),
        "format": format,
        "notes": [_CSV_NOTE] if format == "csv" else [],
        "run": {"id": run.id, "title": run.title, "created": run.manifest.created},
        "fingerprints": {
            "configuration": run.manifest.fingerprint,
            "dataset": dataset.fingerprint if dataset is not None else "",
        },
        "dataset": {"name": dataset.name, "location": dataset.location} if dataset is not None else {},
        "counts": {"kept": summary.kept, "dropped": summary.dropped, "relabelled": summary.relabelled},
        "decisions": [
            {"id": id_, "action": action, "label_in_data": names[old], "label": names[new], "time": time}
            for id_, action, old, new, time in zip(
                decided["id"],
                decided["action"],
                decided["label_in_data"],
                decided["label"],
                decided["time"],
                strict=True,
            )
        ],
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _reopen(run: Run, data: str | None, progress: Progress | None) -> Splits:
    """The dataset that the run was scored on, or a refusal if it has changed."""
    dataset = run.manifest.dataset
    if dataset is None:
        raise InputError(f"The run {run.id} does not say which dataset it scored: run its score command again.")
    options = {name: run.manifest.config[name] for name in _SPLIT_OPTIONS if name in run.manifest.config}
    where = data or dataset.location or dataset.name  # a dataset known by its name has no location
    splits = open_dataset(where, progress=progress, **options)
    if (run.path / APPLIED).is_file():
        splits = with_decisions(splits, run.path / APPLIED)
    found = splits.fingerprint()
    if found != dataset.fingerprint:
        raise InputError(
            f"The data at {where} are not those that were scored (fingerprint "
            f"{dataset.fingerprint[:12]} then, {found[:12]} now): score them again, or say where the scored ones lie."
        )
    return splits
