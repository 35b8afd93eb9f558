"""Writer of the rows of a table: CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from attribution_core.datasets.formats.tables import read_table, rows_suffix
from attribution_core.export.examples import CleanedExamples
from attribution_core.progress import report


def write(examples: CleanedExamples, path: Path) -> None:
    """Write the original rows into one file in their format, with all their columns and the decisions applied.

    A column ``split`` is added if there was none, so that held-out examples stay held out.
    """
    splits, rows = examples.splits, examples.rows
    location = Path(splits.location)
    source = read_table(location, splits.target)
    frame = source.frame.iloc[pd.Index(source.ids).get_indexer(pd.Index(rows["id"]))].reset_index(drop=True)
    frame[source.label] = _labels(splits.train.class_names, rows["label"], frame[source.label])
    frame["split"] = rows["split"].to_numpy()
    suffix = rows_suffix(location)
    if suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    report(len(rows), len(rows), "export")


def _labels(names: list[str], labels: pd.Series, before: pd.Series) -> pd.Series:
    """Return the cells of the target column: values, or class names, which stay numbers in a column of numbers."""
    if not names:
        whole = is_integer_dtype(before) and bool((labels == labels.round()).all())
        return labels.astype("int64") if whole else labels
    wanted = pd.Series([names[label] for label in labels])
    return wanted.astype("int64") if is_numeric_dtype(before) else wanted
