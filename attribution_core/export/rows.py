"""The cleaned texts and rows in the form that they came in: a table, or a zip of text files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from attribution_core.datasets import Splits
from attribution_core.datasets.formats.tables import read_table, rows_suffix
from attribution_core.export.images import entry, rows_of, zipped
from attribution_core.progress import report, track
from attribution_core.runs.names import UniqueNames


def write_rows(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,  # noqa: ARG001 -- every writer takes the same
) -> None:
    """Writes the rows again, in one file of their form and with all their columns, decisions applied.

    A column ``split`` is added where there was none, so that what was set aside stays set aside.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Not used: it lies beside the file.
    """
    location = Path(splits.location)
    source = read_table(location, splits.target)
    rows = rows_of(splits, table)
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


def write_texts(
    splits: Splits,
    table: pd.DataFrame,
    path: Path,
    provenance: str,
) -> None:
    """Writes a zip of text files, ``SPLIT/CLASS/NAME.txt``; of files with a text a line, ``SPLIT/CLASS.txt``.

    Args:
        splits: The dataset.
        table: From ``Run.cleaned_labels``.
        path: The file.
        provenance: Stored in the zip as provenance.json.
    """
    rows, names = rows_of(splits, table), UniqueNames()
    classes = [names.take(name, "") for name in splits.train.class_names]
    lines: dict[str, list[str]] = {}
    with zipped(path, provenance) as archive:
        files = UniqueNames()
        entries = zip(rows["id"], rows["split"], rows["position"], rows["label"], strict=True)
        for id_, split, position, label in track(entries, len(rows), "export"):
            text, _ = getattr(splits, split)[position]
            folder = f"{split}/{classes[label]}"
            if _is_line(id_):
                lines.setdefault(folder, []).append(text)
            else:
                name = files.take(id_.rpartition("/")[2].removesuffix(".txt"), ".txt")
                archive.writestr(entry(f"{folder}/{name}"), text, zipfile.ZIP_DEFLATED)
        for folder, texts in lines.items():
            archive.writestr(entry(f"{folder}.txt"), "\n".join(texts) + "\n", zipfile.ZIP_DEFLATED)


def _labels(names: list[str], labels: pd.Series, before: pd.Series) -> pd.Series:
    """What the column is to hold: the names of the classes, as numbers where it holds such; or values."""
    if not names:
        whole = is_integer_dtype(before) and bool((labels == labels.round()).all())
        return labels.astype("int64") if whole else labels
    wanted = pd.Series([names[label] for label in labels])
    return wanted.astype("int64") if is_numeric_dtype(before) else wanted


def _is_line(id_: str) -> bool:
    file, _, number = id_.rpartition(":")
    return file.endswith(".txt") and number.isdecimal()
