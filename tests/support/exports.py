"""Data and reviewed runs that the tests of the export write out and read back."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.datasets import Dataset, Splits, TorchData, list_examples, open_dataset
from attribution_core.runs import DatasetSummary, Run, RunWriter, fingerprint
from attribution_core.runs.labels import label_names
from attribution_core.runs.schema import ValuesSummary
from tests.support.builders import encoded, write_folder, write_idx, write_manifest, write_parquet
from tests.support.hugging_face import save_splits
from tests.support.tables import SENTENCES, make_table, make_texts, write_table

N = 48
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
SPLITS = ["train"] * 32 + ["val"] * 8 + ["test"] * 8
SPLIT_OPTIONS = {"seed": 0, "validation_fraction": 0.2, "test_fraction": 0.2, "max_train": None}


def write_run(path: Path, data: str | Path | TorchData, **options: int | str) -> Run:
    """Write a run over a dataset without scoring it."""
    splits = open_dataset(data, **{**SPLIT_OPTIONS, **options})
    config = {"data": str(data), **SPLIT_OPTIONS, **options}
    names = splits.train.class_names
    with RunWriter.start(path, config, fingerprint(config), "folder") as writer:
        tables = {
            name: pd.DataFrame({"id": part.ids, "label": part.labels, "label_name": label_names(part.labels, names)})
            for name, part in splits.by_name.items()
        }
        train = tables.pop("train")
        writer.write_table("examples", train.assign(fsi=np.linspace(-1, 1, len(train))))
        held_out = [table.assign(split=name) for name, table in tables.items()]
        writer.write_table("evaluation", pd.concat(held_out, ignore_index=True))
        writer.update(
            measures=["fsi"],
            dataset=DatasetSummary(
                name=splits.name,
                location=splits.location,
                class_names=names,
                sizes={"train": len(splits.train)},
                mode=splits.train.mode,
                values=_values(splits.train),
                fingerprint=splits.fingerprint(),
            ),
        )
    return Run.open(path)


def _values(train: Dataset) -> ValuesSummary | None:
    scale = train.values
    if scale is None:
        return None
    return ValuesSummary(name=scale.name, mean=scale.mean, scale=scale.scale, ranges=scale.range_names)


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


# -- data of every format, by the folder to write them into -----------------------------------------------------------


LABELS = (np.arange(N) % 3).tolist()
COLOUR = np.random.default_rng(1).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
NAMES = np.array(["ant", "bee", "cat"])


def keras(images, labels):
    return {"x_train": images[:40], "y_train": labels[:40], "x_test": images[40:], "y_test": labels[40:]}


def idx(folder):
    for prefix, rows in (("train", slice(0, 40)), ("t10k", slice(40, N))):
        write_idx(folder / "mnist" / f"{prefix}-images-idx3-ubyte", PIXELS[rows])
        write_idx(folder / "mnist" / f"{prefix}-labels-idx1-ubyte.gz", np.array(LABELS[rows]))
    return folder / "mnist"


IMAGE_FORMS = {
    "folder": lambda folder: write_folder(folder / "data", {"ant": 24, "bee": 24}),
    "parquet": lambda folder: write_parquet(folder / "d.parquet", LABELS, split=SPLITS),
    "csv": lambda folder: make_manifest(folder, ".csv", NAMES[LABELS].tolist()),
    "tsv": lambda folder: make_manifest(folder, ".tsv", LABELS, id=[f"x{i}" for i in range(N)]),
    "jsonl": lambda folder: make_manifest(folder, ".jsonl", LABELS, split=SPLITS, box=[[1, 2]] * N),
    "npz": lambda folder: write_npz(folder, **keras(COLOUR / 255, NAMES[LABELS])),
    "npz unsplit": lambda folder: write_npz(
        folder, images=np.moveaxis(COLOUR, 3, 1), labels=np.array(LABELS)[:, None], class_names=NAMES
    ),
    "idx": idx,
    "saved": lambda folder: save_splits(folder / "saved", train=40, test=8),
}


def folders(path):
    for name, text in SENTENCES.items():
        (path / "d" / name).mkdir(parents=True)
        for i in range(20):
            (path / "d" / name / f"{i}.txt").write_text(f"{text} {i}")
    return path / "d"


def lines(path):
    (path / "d").mkdir()
    for name, text in SENTENCES.items():
        (path / "d" / f"{name}.txt").write_text("\n".join(f"{text} {i}" for i in range(20)))
    return path / "d"


def split_files(path):
    (path / "d").mkdir()
    for name, rows in (("train", slice(0, 24)), ("validation", slice(24, 32)), ("test", slice(32, 40))):
        write_table(make_table().iloc[rows], path / "d" / f"{name}.csv")
    return path / "d"


TEXT_FORMS = {
    **{
        f"table.{suffix}": lambda p, s=suffix: write_table(make_table(), p / f"d.{s}")
        for suffix in ("csv", "tsv", "jsonl")
    },
    "table.parquet": lambda p: write_table(make_table(), p / "d.parquet"),
    **{
        f"texts.{suffix}": lambda p, s=suffix: write_table(make_texts(), p / f"d.{s}")
        for suffix in ("csv", "jsonl", "parquet")
    },
    "text folders": folders,
    "text lines": lines,
    "a file a split": split_files,
}
