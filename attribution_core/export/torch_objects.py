"""Cleaned torch datasets, whose examples only the program that made them has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch.utils.data

from attribution_core.datasets.formats.torch_objects import TorchData, class_names, split_datasets
from attribution_core.errors import InputError
from attribution_core.runs.cleaned import decided_labels
from attribution_core.runs.labels import label_texts, labels_of_texts
from attribution_core.runs.store import Run

SplitName = Literal["train", "validation", "test"]


class CleanedDataset(torch.utils.data.Dataset[tuple[Any, int | float]]):
    """A subset of a dataset with new labels, where :class:`torch.utils.data.Subset` keeps the original ones.

    Attributes:
        dataset: The original dataset.
        indices: Positions of the examples in the original dataset.
        targets: Labels of the examples: class numbers of the original dataset, or values.
    """

    def __init__(
        self, dataset: torch.utils.data.Dataset[Any], indices: Sequence[int], targets: Sequence[int | float]
    ) -> None:
        self.dataset = dataset
        self.indices = list(indices)
        self.targets = list(targets)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int | float]:
        example, _ = self.dataset[self.indices[index]]
        return example, self.targets[index]


def cleaned_dataset(run: Run, data: TorchData, split: SplitName = "train") -> CleanedDataset:
    """Apply a run's decisions to the torch dataset that it scored; no example is read yet.

    Args:
        run: A run that scored this dataset, with the reviewer's decisions.
        data: The dataset, or dict of datasets, that :func:`attribution_core.open_dataset` was given; its transforms may
            differ.
        split: Split of the run. Examples held out for validation or test are in these splits and not in ``"train"``.

    Returns:
        The examples that stay, as a dataset of (example, label).

    Raises:
        InputError: If the run scored another dataset, or the dataset has become shorter.
    """
    rows = cleaned_positions(run)
    rows = rows[rows["split"] == split]
    sources = split_datasets(data)
    source, _, positions = (rows["id"].str.partition("/")[part] for part in range(3))
    if not len(rows) or not source.isin(list(sources)).all() or not positions.str.isdecimal().all():
        raise InputError(
            f"{run.path} did not score this torch dataset, or has no examples in {split}: give the dataset, or the "
            "dict of datasets, that the run scored."
        )
    dataset, indices = sources[source.iloc[0]], positions.astype("int64").tolist()
    if max(indices) >= len(dataset):  # type: ignore[arg-type]
        raise InputError(
            f"{run.path} scored at least {max(indices) + 1:,} examples of the {source.iloc[0]} dataset, which has "
            f"{len(dataset):,}: give the dataset that the run scored."  # type: ignore[arg-type]
        )
    if run.values is not None:
        return CleanedDataset(dataset, indices, labels_of_texts(rows["label"].tolist(), []).tolist())
    declared = class_names(data)
    try:
        numbers = {name: declared.index(name) if declared else int(name) for name in rows["label"].unique()}
    except ValueError as error:
        raise InputError(
            f"The dataset lacks a class of {run.path} ({error}): give the dataset that the run scored."
        ) from error
    return CleanedDataset(dataset, indices, rows["label"].map(numbers).tolist())


def cleaned_positions(run: Run) -> pd.DataFrame:
    """List the examples that stay.

    Returns:
        Columns id (the position, such as ``train/17``), label (a class name, or a value with all digits) and split.
    """
    table = decided_labels(run)
    rows = table.loc[table["action"] != "drop", ["id", "label", "split"]].reset_index(drop=True)
    return rows.assign(label=label_texts(rows["label"].to_numpy(), run.class_names))


def write_positions(run: Run, path: Path) -> None:
    """Write :func:`cleaned_positions` as CSV."""
    cleaned_positions(run).to_csv(path, index=False)
