"""Apply decisions about training examples to an opened dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.row_files import clean_columns
from attribution_core.errors import InputError

COLUMNS = ("id", "action", "label")
_ACTIONS = ("drop", "relabel")


def with_decisions(splits: Splits, file: Path) -> Splits:
    """Return the dataset with training examples dropped and relabeled; validation, test and group columns stay.

    Args:
        splits: Opened dataset.
        file: A CSV file with columns id, action ("drop" or "relabel") and label, a class name or a value (unused for a
            drop).

    Raises:
        InputError: The file cannot be read or understood, names an id or a class that the training examples do not
            have, or leaves a class without training examples.
    """
    decisions = _read(file)
    train = splits.train
    positions = pd.Index(train.ids).get_indexer(pd.Index(decisions["id"]))
    _refuse(decisions["id"][positions < 0], file, "no training example has the id")
    drops = (decisions["action"] == "drop").to_numpy()
    decided = train.labels.copy()
    decided[positions[~drops]] = _labels(train, decisions["label"][~drops], file)
    kept = np.ones(len(train), dtype=bool)
    kept[positions[drops]] = False
    _check_classes(train, decided[kept], file)
    relabelled = int((decided[kept] != train.labels[kept]).sum())
    note = f"{int(drops.sum()):,} training examples were dropped and {relabelled:,} relabelled by earlier decisions."
    return dataclasses.replace(splits, train=train.relabeled(decided).subset(kept), notes=[*splits.notes, note])


def _read(file: Path) -> pd.DataFrame:
    """Read the columns id, action and label as texts."""
    try:
        found = read_delimited(Path(file))
    except OSError as error:
        raise InputError(f"The decisions in {file} cannot be read: {error}.") from error
    columns = clean_columns(found.columns, Path(file))
    if not found.cells or any(name not in columns for name in COLUMNS):
        raise InputError(
            f"{file} must be a CSV file with the columns {', '.join(COLUMNS)} and one row for each decision: "
            "correct it."
        )
    rows = [dict(zip(columns, cells, strict=True)) for cells in found.cells]
    decisions = pd.DataFrame({name: [row[name] for row in rows] for name in COLUMNS}, dtype="str")
    _refuse(decisions["action"][~decisions["action"].isin(_ACTIONS)], file, "an action must be drop or relabel, not")
    _refuse(decisions["id"][decisions["id"].duplicated()], file, "more than one row decides about")
    return decisions


def _labels(train: Dataset, texts: pd.Series, file: Path) -> np.ndarray:
    """Turn class names or numbers into labels of the training examples."""
    if train.values is not None:
        values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
        _refuse(texts[~np.isfinite(values)], file, "a value must be a finite number, not")
        return values
    labels = pd.Index(train.class_names).get_indexer(pd.Index(texts))
    _refuse(texts[labels < 0], file, "there is no class")
    return labels


def _check_classes(train: Dataset, labels: np.ndarray, file: Path) -> None:
    if not len(labels):
        raise InputError(f"The decisions in {file} drop every training example: keep at least some of them.")
    if train.values is not None:
        return
    before, after = (np.bincount(each, minlength=len(train.class_names)) for each in (train.labels, labels))
    emptied = [train.class_names[label] for label in np.flatnonzero((before > 0) & (after == 0))]
    _refuse(pd.Series(emptied, dtype="str"), file, "they leave no training example in the class")


def _refuse(values: pd.Series, file: Path, problem: str) -> None:
    if len(values):
        more = f" (and {len(values) - 1:,} more)" if len(values) > 1 else ""
        raise InputError(f"The decisions in {file} do not match the data: {problem} {values.iloc[0]!r}{more}.")
