"""Writer of the list of all examples with their decisions and scores, as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.runs.cleaned import decided_labels
from attribution_core.runs.labels import label_texts
from attribution_core.runs.store import Run

NOTE = (
    "A text that begins with = + - @, a tab or a return has an apostrophe in front of it; spreadsheets would run it as "
    "a formula otherwise."
)
_LAST = ["split", "reviewer", "tags", "note"]
_STATED = ("predicted_name", "confidence", "residual", "suggested_name", "suggested_confidence")  # by models
_FORMULA = r"^[=+\-@\t\r]"  # a spreadsheet runs a cell that begins with one of these


def write_list(run: Run, table: pd.DataFrame, path: Path) -> None:
    """Write a row for each example: id, labels, action, time of decision, scores, split, reviewer, tags and note.

    The labels are the final one and that in the data. Tags are joined by semicolons. Examples of validation and test
    have the scores that the run has of them.

    Args:
        run: The reviewed run.
        table: The examples with their decisions, from :func:`attribution_core.runs.cleaned.cleaned_table`.
        path: File to write.
    """
    scores = pd.concat([run.examples[run.scores], run.evaluation.reindex(columns=run.scores)], ignore_index=True)
    cells = _safe_cells(pd.concat([_decided(run, table), scores, table[_LAST]], axis=1))
    # Texts are always quoted: a lone return inside one would end the row otherwise.
    cells.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)


def selected_list(run: Run, rows: np.ndarray) -> str:
    """Return some examples as CSV: the columns of :func:`write_list`, with the prediction and what was suggested.

    Args:
        run: The run.
        rows: Positions among all its examples, those of training first, ``[n]``.
    """
    known = [name for name in _STATED if name in run.examples or name in run.evaluation]
    columns = list(dict.fromkeys([*known, *run.scores]))  # a model's confidence is a score, too
    facts = [table.reindex(columns=columns) for table in (run.examples, run.evaluation)]
    table = decided_labels(run)
    whole = pd.concat([_decided(run, table), pd.concat(facts, ignore_index=True), table[_LAST]], axis=1)
    return str(_safe_cells(whole.iloc[rows]).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))


def _decided(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": table["id"],
            "label": listed_labels(run, table["label"]),
            "label_in_data": listed_labels(run, table["label_in_data"]),
            "action": table["action"],
            "decided": table["time"],
        }
    )


def listed_labels(run: Run, labels: pd.Series) -> np.ndarray:
    """Return labels as class names, or as the numbers that they are for a regression."""
    return labels.to_numpy() if run.values is not None else label_texts(labels.to_numpy(), run.class_names)


def _safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before each text that a spreadsheet would run as a formula; numbers stay as they are."""
    safe = frame.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            text = safe[column].astype("str")
            safe[column] = text.where(~text.str.match(_FORMULA, na=False), "'" + text)
    return safe
