"""The decisions that clean a run's training set, as a file to retrain with, and those that a cleaned run applied."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.labels import label_texts, labels_of_texts
from attribution_core.runs.names import APPLIED_DECISIONS_FILE, DECISIONS_FOLDER, MANIFEST_FILE
from attribution_core.runs.store import Run, read_manifest

_COLUMNS = ["id", "action", "label", "label_in_data"]


def applied_decisions(run: Run) -> pd.DataFrame:
    """Read the decisions that cleaned the run's training set before it was scored.

    Returns:
        Columns id, action, label and label_in_data; no rows for a run on an uncleaned dataset.

    Raises:
        InputError: If the file is damaged.
    """
    file = run.path / APPLIED_DECISIONS_FILE
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype="str") for name in _COLUMNS})
    try:
        return pd.read_csv(file, dtype="str", keep_default_na=False)[_COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error}): retrain on the cleaned dataset again.") from error


def cleaned_table(run: Run) -> pd.DataFrame:
    """List every training example of the dataset with the decisions of this run and of the runs before it.

    Returns:
        The columns of :meth:`Run.cleaned_labels`: first the run's examples in their order, then those that were dropped
        before the run was scored.
    """
    table, earlier = run.cleaned_labels(), applied_decisions(run)
    if earlier.empty:
        return table
    before = pd.DataFrame(
        {
            "id": earlier["id"],
            "label": labels_of_texts(earlier["label"].tolist(), run.class_names),
            "label_in_data": labels_of_texts(earlier["label_in_data"].tolist(), run.class_names),
            "action": earlier["action"],
            "time": "",
        }
    )
    gone = before[before["action"] == "drop"]
    in_data = before.set_index("id")["label_in_data"].reindex(table["id"]).to_numpy(dtype="float64", na_value=np.nan)
    now = table["label_in_data"].to_numpy()
    table["label_in_data"] = np.where(np.isnan(in_data), now, in_data).astype(now.dtype)
    changed = (table["label"] != table["label_in_data"]) & (table["action"] != "drop")
    back = (table["action"] == "relabel") & ~changed
    table["action"] = table["action"].mask(changed, "relabel").mask(back, "keep")
    return pd.concat([table, gone], ignore_index=True)


def changes(run: Run) -> dict[str, int]:
    """Count the training examples that the run's decisions drop and relabel, and those that stay.

    Returns:
        The counts ``"dropped"``, ``"relabelled"`` (to another label) and ``"kept"`` (with the relabeled ones).
    """
    table = run.cleaned_labels()
    dropped = int((table["action"] == "drop").sum())
    relabelled = int(((table["action"] == "relabel") & (table["label"] != table["label_in_data"])).sum())
    return {"dropped": dropped, "relabelled": relabelled, "kept": len(table) - dropped}


def write_decisions(run: Run) -> Path:
    """Write the current decisions into the run, unless the file exists already.

    Returns:
        The file, which is named after its content.

    Raises:
        InputError: If no decision changes the training set.
    """
    text = _text(run)
    file = _file(run, text)
    if not file.is_file():
        with written_atomically(file) as partial:
            partial.write_bytes(text.encode())
    return file


def cleaned_folder(run: Run) -> Path:
    """Return the folder for the run on the cleaned dataset: ``RUN-cleaned``, ``RUN-cleaned-2``, ... beside the run.

    It is the first that is free, or that holds a run begun with the same decisions, which is then resumed.

    Raises:
        InputError: If no decision changes the training set.
    """
    file = str(_file(run, _text(run)))
    number = 1
    while True:
        path = run.path.with_name(f"{run.id}-cleaned" + (f"-{number}" if number > 1 else ""))
        if not path.exists() or _made_with(path) == file:
            return path
        number += 1


def _text(run: Run) -> str:
    """Return the decisions as CSV, sorted by id, so that equal decisions give equal texts."""
    if not any(changes(run)[name] for name in ("dropped", "relabelled")):
        raise InputError(
            f"The run {run.id} has no decision that changes its training set: drop or relabel examples in Review first."
        )
    table = cleaned_table(run)
    relabelled = (table["action"] == "relabel") & (table["label"] != table["label_in_data"])
    table = table[(table["action"] == "drop") | relabelled].sort_values("id")
    texts = {name: label_texts(table[name].to_numpy(), run.class_names) for name in ("label", "label_in_data")}
    rows = table.assign(**texts)[_COLUMNS]
    text = io.StringIO()
    rows.to_csv(text, index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")
    return text.getvalue()


def _file(run: Run, text: str) -> Path:
    return run.path / DECISIONS_FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"


def _made_with(path: Path) -> str | None:
    """Return the file of decisions that the run at ``path`` was begun with, or None if there is no run or no file."""
    try:
        return read_manifest(path).config.get("decisions") if (path / MANIFEST_FILE).is_file() else None
    except InputError:
        return None
