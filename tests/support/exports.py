"""Data and reviewed runs that the tests of the export write out and read back."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.datasets import Dataset, Splits, list_examples, open_dataset
from attribution_core.runs import DatasetSummary, Run, RunWriter, fingerprint
from tests.support.builders import encoded, write_manifest

N = 48
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
SPLITS = ["train"] * 32 + ["val"] * 8 + ["test"] * 8
SPLIT_OPTIONS = {"seed": 0, "validation_fraction": 0.2, "test_fraction": 0.2, "max_train": None}


def write_run(path: Path, data: str | Path, **options: int) -> Run:
    """Write a run over a dataset without scoring it."""
    splits = open_dataset(data, **{**SPLIT_OPTIONS, **options})
    config = {"data": str(data), **SPLIT_OPTIONS, **options}
    names = splits.train.class_names
    with RunWriter.start(path, config, fingerprint(config), "folder") as writer:
        writer.write_table(
            "examples",
            pd.DataFrame(
                {
                    "id": splits.train.ids,
                    "label": splits.train.labels,
                    "label_name": np.array(names, dtype=object)[splits.train.labels],
                    "fsi": np.linspace(-1, 1, len(splits.train)),
                }
            ),
        )
        writer.update(
            measures=["fsi"],
            dataset=DatasetSummary(
                name=splits.name,
                location=splits.location,
                class_names=names,
                sizes={"train": len(splits.train)},
                mode=splits.train.mode,
                fingerprint=splits.fingerprint(),
            ),
        )
    return Run.open(path)


def write_reviewed_run(path: Path, data: str | Path) -> Run:
    """Write a run over a dataset in which one example is dropped, one kept and one relabeled."""
    run = write_run(path, data)
    ids = run.examples["id"]
    run.decisions.record([ids[0]], "drop")
    run.decisions.record([ids[1]], "keep")
    run.decisions.record([ids[2]], "relabel", int(1 - run.examples["label"][2]))
    return run


def make_manifest(folder: Path, suffix: str, labels: list, **columns: list) -> Path:
    """Write a list of :data:`N` images, with the images beside it."""
    (folder / "pictures").mkdir()
    for i in range(N):
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(i))
    rows = [{"File": f"pictures/{i}.png", "label": labels[i], "camera": "a,b" if i % 2 else ""} for i in range(N)]
    rows = [{**row, **{name: cells[i] for name, cells in columns.items()}} for i, row in enumerate(rows)]
    return write_manifest(folder / f"list{suffix}", rows)


def write_npz(folder: Path, **arrays: np.ndarray) -> Path:
    """Write an archive of arrays."""
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def examples_by_split(data: str | Path, splits: Splits, contents: Callable[[Dataset], dict]) -> dict[str, dict]:
    """Return the contents of each split that the data have; examples that were set aside belong to the training ones.

    Args:
        data: Where the splits were opened.
        splits: The opened dataset.
        contents: Function that returns the contents of a split by example.
    """
    given = list_examples(data, splits.target, splits.task).parts
    found = {name: contents(part) for name, part in splits.by_name.items() if name in given}
    for name, part in splits.by_name.items():
        if name not in given:
            found["train"] |= contents(part)
    return found


def unzipped(path: Path) -> Path:
    """Unpack ``path`` beside itself if it is an archive, and return the folder; return any other path as it is."""
    if path.suffix != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.with_suffix(""))
    return path.with_suffix("")
