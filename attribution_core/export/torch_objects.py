"""Cleaned datasets of which only a program has the examples: torch ``Dataset`` objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch.utils.data

from attribution_core.datasets.formats.torch_objects import TorchData, class_names, split_datasets
from attribution_core.errors import InputError
from attribution_core.runs.labels import label_texts, labels_of_texts
from attribution_core.runs.store import Run

SplitName = Literal["train", "validation", "test"]


class CleanedDataset(torch.utils.data.Dataset[tuple[Any, int | float]]):
    """Some examples of a dataset with labels of their own, as :class:`torch.utils.data.Subset` has some as they are.

    Attributes:
        dataset: Where the examples come from.
        indices: Their positions there.
        targets: Their labels: classes, in the numbers of that dataset, or values.
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
    """The examples of a torch dataset that stay, with the labels that were decided; nothing is read yet.

    Args:
        run: A run that scored this dataset, with the reviewer's decisions.
        data: What :func:`attribution_core.open_dataset` was given: its transforms may be others now.
        split: Of the run. What was set aside for validation or test is there, and not in "train".

    Returns:
        A dataset of (example, label).

    Raises:
        InputError: If the run scored something else, or the dataset is shorter now.
    """
    rows = cleaned_positions(run)
    rows = rows[rows["split"] == split]
    sources = split_datasets(data)
    source, _, positions = (rows["id"].str.partition("/")[part] for part in range(3))
    if not len(rows) or not source.isin(list(sources)).all() or not positions.str.isdecimal().all():
        raise InputError(
            f"A run that scored this torch dataset was expected, with examples in {split}, and {run.path} scored other "
            "data or has none: give the dataset, or the dict of datasets, that it scored."
        )
    dataset, indices = sources[source.iloc[0]], positions.astype("int64").tolist()
    if max(indices) >= len(dataset):  # type: ignore[arg-type]
        raise InputError(
            f"At least {max(indices) + 1:,} examples were expected in the {source.iloc[0]} dataset, as {run.path} has "
            f"scored them, and there are {len(dataset):,}: give the dataset that it scored."  # type: ignore[arg-type]
        )
    if run.values is not None:
        return CleanedDataset(dataset, indices, labels_of_texts(rows["label"].tolist(), []).tolist())
    declared = class_names(data)
    try:
        numbers = {name: declared.index(name) if declared else int(name) for name in rows["label"].unique()}
    except ValueError as error:
        raise InputError(
            f"The classes of {run.path} were expected in the dataset, and it has others ({error})."
        ) from error
    return CleanedDataset(dataset, indices, rows["label"].map(numbers).tolist())


def cleaned_positions(run: Run) -> pd.DataFrame:
    """The examples that stay, by their positions.

    Returns:
        Columns id (such as ``train/17``), label (the name of a class, or a value with all its digits) and split.
    """
    table = run.cleaned_labels()
    kept = table[table["action"] != "drop"].assign(split="train")
    rows = pd.concat([part[["id", "label", "split"]] for part in (kept, run.evaluation)], ignore_index=True)
    return rows.assign(label=label_texts(rows["label"].to_numpy(), run.class_names))


def write_positions(run: Run, path: Path) -> None:
    """Writes :func:`cleaned_positions` as CSV."""
    cleaned_positions(run).to_csv(path, index=False)
