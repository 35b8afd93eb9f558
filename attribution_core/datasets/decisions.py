"""Apply decisions about examples to an opened dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.formats.delimited import read_delimited
from attribution_core.datasets.formats.row_files import clean_columns
from attribution_core.errors import InputError
from attribution_core.runs.labels import split_name
from attribution_core.runs.review_file import Split

COLUMNS = ("id", "action", "label")
_ACTIONS = ("drop", "relabel")
_SPLITS = get_args(Split)


def with_decisions(splits: Splits, file: Path) -> Splits:
    """Return the dataset with examples dropped and relabeled; group columns stay.

    Args:
        splits: Opened dataset.
        file: A CSV file with columns id, action ("drop" or "relabel"), label, a class name or a value (unused for a
            drop), and split, without which every decision is about a training example.

    Raises:
        InputError: The file cannot be read or understood, names an id or a class that the data do not have, or leaves
            a class without training examples or a split without examples.
    """
    decisions = _read(file)
    parts, notes = splits.by_name, list(splits.notes)
    for name, part in splits.by_name.items():
        about = decisions[decisions["split"] == name]
        if len(about):
            parts[name], note = _decided(part, about, name, file)
            notes.append(note)
    train, validation, test = parts.values()
    return dataclasses.replace(splits, train=train, validation=validation, test=test, notes=notes)


def _decided(part: Dataset, decisions: pd.DataFrame, split: str, file: Path) -> tuple[Dataset, str]:
    """Return a split with decisions about its examples applied, and a sentence that counts them."""
    kind = split_name(split)
    positions = pd.Index(part.ids).get_indexer(pd.Index(decisions["id"]))
    _refuse(decisions["id"][positions < 0], file, f"no {kind} example has the id")
    drops = (decisions["action"] == "drop").to_numpy()
    labels = part.labels.copy()
    labels[positions[~drops]] = _labels(part, decisions["label"][~drops], file)
    kept = np.ones(len(part), dtype=bool)
    kept[positions[drops]] = False
    if not kept.any():
        raise InputError(f"The decisions in {file} drop every {kind} example: keep at least some of them.")
    if split == "train" and part.values is None:
        _check_classes(part, labels[kept], file)
    relabelled = int((labels[kept] != part.labels[kept]).sum())
    note = f"{int(drops.sum()):,} {kind} examples were dropped and {relabelled:,} relabelled by earlier decisions."
    return part.relabeled(labels).subset(kept), note


def _read(file: Path) -> pd.DataFrame:
    """Read the columns id, action, label and split as texts."""
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
    cells = {name: [row[name] for row in rows] for name in COLUMNS}
    decisions = pd.DataFrame({**cells, "split": [row.get("split", "train") for row in rows]}, dtype="str")
    _refuse(decisions["action"][~decisions["action"].isin(_ACTIONS)], file, "an action must be drop or relabel, not")
    _refuse(decisions["split"][~decisions["split"].isin(_SPLITS)], file, f"a split must be {', '.join(_SPLITS)}, not")
    _refuse(decisions["id"][decisions.duplicated(["id", "split"])], file, "more than one row decides about")
    return decisions


def _labels(part: Dataset, texts: pd.Series, file: Path) -> np.ndarray:
    """Turn class names or numbers into labels."""
    if part.values is not None:
        values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
        _refuse(texts[~np.isfinite(values)], file, "a value must be a finite number, not")
        return values
    labels = pd.Index(part.class_names).get_indexer(pd.Index(texts))
    _refuse(texts[labels < 0], file, "there is no class")
    return labels


def _check_classes(train: Dataset, labels: np.ndarray, file: Path) -> None:
    before, after = (np.bincount(each, minlength=len(train.class_names)) for each in (train.labels, labels))
    emptied = [train.class_names[label] for label in np.flatnonzero((before > 0) & (after == 0))]
    _refuse(pd.Series(emptied, dtype="str"), file, "they leave no training example in the class")


def _refuse(values: pd.Series, file: Path, problem: str) -> None:
    if len(values):
        more = f" (and {len(values) - 1:,} more)" if len(values) > 1 else ""
        raise InputError(f"The decisions in {file} do not match the data: {problem} {values.iloc[0]!r}{more}.")
