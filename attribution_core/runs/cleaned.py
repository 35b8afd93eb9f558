"""The decisions that clean a run's dataset, as a file to retrain with, and those that a cleaned run applied."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.annotations import TAG_SEPARATOR
from attribution_core.runs.files import written_atomically
from attribution_core.runs.labels import label_texts, labels_of_texts
from attribution_core.runs.names import APPLIED_DECISIONS_FILE, DECISIONS_FOLDER, MANIFEST_FILE
from attribution_core.runs.review_file import Split
from attribution_core.runs.store import Run, read_manifest

_COLUMNS = ["id", "action", "label", "label_in_data"]
_KEY = ["id", "split"]  # ids are unique within a split only


def applied_decisions(run: Run) -> pd.DataFrame:
    """Read the decisions that cleaned the run's dataset before it was scored.

    Returns:
        Columns id, action, label, label_in_data and split; no rows for a run on an uncleaned dataset.

    Raises:
        InputError: If the file is damaged.
    """
    file = run.path / APPLIED_DECISIONS_FILE
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype="str") for name in [*_COLUMNS, "split"]})
    try:
        found = pd.read_csv(file, dtype="str", keep_default_na=False)
        return found[_COLUMNS].assign(split=found.get("split", "train"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error}): retrain on the cleaned dataset again.") from error


def cleaned_table(run: Run) -> pd.DataFrame:
    """List every example of the dataset with the decisions of this run and of the runs before it.

    Returns:
        The columns of :func:`decided_labels`: first the run's examples in their order, by split, then those that were
        dropped before the run was scored.
    """
    table, earlier = decided_labels(run), applied_decisions(run)
    if earlier.empty:
        return table
    before = pd.DataFrame(
        {
            "id": earlier["id"],
            "split": earlier["split"],
            "label": labels_of_texts(earlier["label"].tolist(), run.class_names),
            "label_in_data": labels_of_texts(earlier["label_in_data"].tolist(), run.class_names),
            "action": earlier["action"],
            **dict.fromkeys(("time", "reviewer", "tags", "note"), ""),
        }
    )
    gone = before[before["action"] == "drop"]
    keys = pd.MultiIndex.from_frame(table[_KEY])
    in_data = before.set_index(_KEY)["label_in_data"].reindex(keys).to_numpy(dtype="float64", na_value=np.nan)
    now = table["label_in_data"].to_numpy()
    table["label_in_data"] = np.where(np.isnan(in_data), now, in_data).astype(now.dtype)
    changed = (table["label"] != table["label_in_data"]) & (table["action"] != "drop")
    back = (table["action"] == "relabel") & ~changed
    table["action"] = table["action"].mask(changed, "relabel").mask(back, "keep")
    return pd.concat([table, gone], ignore_index=True)


def decided_labels(run: Run) -> pd.DataFrame:
    """List the training, then the validation and test examples with the run's decisions, tags and notes.

    Returns:
        The columns of :meth:`Run.cleaned_labels`, tags (joined by semicolons) and note, "" for none.
    """
    table = pd.concat([run.cleaned_labels("train"), run.cleaned_labels("evaluation")], ignore_index=True)
    table["tags"] = table["note"] = ""
    marked = run.decisions.annotations.current()
    rows = pd.MultiIndex.from_frame(table[_KEY]).get_indexer(pd.MultiIndex.from_frame(marked[_KEY]))
    here = rows >= 0  # an id may be of another run's data, in a log that was copied
    table.loc[rows[here], "tags"] = marked["tags"][here].map(TAG_SEPARATOR.join).to_numpy()
    table.loc[rows[here], "note"] = marked["note"][here].to_numpy()
    return table


def changes(run: Run) -> dict[str, dict[str, int]]:
    """Count, in each split, the examples that the run's decisions drop and relabel, and those that stay.

    Returns:
        By split, the counts of :func:`counts_by_split`.
    """
    return counts_by_split(decided_labels(run))


def counts_by_split(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the decisions that change a split.

    Args:
        table: Examples with their decisions, from :func:`decided_labels` or :func:`cleaned_table`.

    Returns:
        By split, the counts ``"dropped"``, ``"relabelled"`` (to another label) and ``"kept"`` (with the relabeled
        ones).
    """
    dropped, relabelled = table["action"] == "drop", _relabelled(table)
    found = {}
    for split in get_args(Split):
        inside = table["split"] == split
        gone = int((inside & dropped).sum())
        counts = {"dropped": gone, "relabelled": int((inside & relabelled).sum()), "kept": int(inside.sum()) - gone}
        found[split] = counts
    return found


def _relabelled(table: pd.DataFrame) -> pd.Series:
    """Return which examples get another label than in the data; a relabel may have been back to that."""
    return (table["action"] == "relabel") & (table["label"] != table["label_in_data"])


def write_decisions(run: Run) -> Path:
    """Write the current decisions into the run, unless the file exists already.

    Returns:
        The file, which is named after its content.

    Raises:
        InputError: If no decision changes the dataset.
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
        InputError: If no decision changes the dataset.
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
    if not any(counts["dropped"] or counts["relabelled"] for counts in changes(run).values()):
        raise InputError(
            f"The run {run.id} has no decision that changes its dataset: drop or relabel examples in Review first."
        )
    table = cleaned_table(run)
    table = table[(table["action"] == "drop") | _relabelled(table)].sort_values(_KEY)
    texts = {name: label_texts(table[name].to_numpy(), run.class_names) for name in ("label", "label_in_data")}
    # Without other splits the file is that of earlier versions, so that the runs they cleaned are found again.
    columns = _COLUMNS if (table["split"] == "train").all() else [*_COLUMNS, "split"]
    text = io.StringIO()
    table.assign(**texts)[columns].to_csv(text, index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")
    return text.getvalue()


def _file(run: Run, text: str) -> Path:
    return run.path / DECISIONS_FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"


def _made_with(path: Path) -> str | None:
    """Return the file of decisions that the run at ``path`` was begun with, or None if there is no run or no file."""
    try:
        return read_manifest(path).config.get("decisions") if (path / MANIFEST_FILE).is_file() else None
    except InputError:
        return None
