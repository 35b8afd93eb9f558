"""Make a run of 50,000 training and 1,000 evaluation examples with synthetic scores, for measuring the app.

    python -m tests.benchmarks.large_run OUT [--data-root DIR] [--train 50000] [--evaluation 1000]

The images are CIFAR-10's (``DIR/cifar10``, Parquet), so that thumbnails have a realistic size; without them, color
patterns of the same size. Effects by three methods are whole matrices, 200 MB each before compression.
"""

import argparse
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from tests.support.sample_run import write_run

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CHANGED_SHARE = 0.02
WIDTH = 128  # width of the embeddings


@dataclass(frozen=True)
class Part:
    """Hold one split, with as much of a dataset as writing a run needs."""

    ids: list[str]
    labels: np.ndarray
    groups: pd.DataFrame
    images: list[bytes]
    class_names: list[str]
    mode: str = "RGB"

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(io.BytesIO(self.images[index])), int(self.labels[index])


@dataclass(frozen=True)
class Parts:
    """Hold the splits of the large run."""

    train: Part
    validation: Part
    test: Part
    location: str = ""

    def fingerprint(self) -> str:
        return "made up"


def make_large_run(path: Path, data_root: Path | None, train: int = 50_000, evaluation: int = 1_000) -> Path:
    """Write the run, unless there already is one at ``path``.

    Args:
        path: Directory of the run.
        data_root: Folder that holds ``cifar10/``; None for patterns.
        train: Number of training examples.
        evaluation: Number of validation examples, and of test examples.

    Returns:
        ``path``.
    """
    if (path / "run.json").exists():
        return path
    rng = np.random.default_rng(0)
    sizes = {"train": train, "validation": evaluation, "test": evaluation}
    images = _photographs(data_root, train, 2 * evaluation) if data_root else _patterns(rng, train + 2 * evaluation)
    parts = {split: _part(split, [next(images) for _ in range(size)], rng) for split, size in sizes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {"data": "cifar10" if data_root else "patterns", "model": "cnn4"}
    return write_run(path, Parts(**parts), config, name=str(config["data"]), width=WIDTH)  # type: ignore[arg-type]


def _part(split: str, pairs: list[tuple[bytes, int]], rng: np.random.Generator) -> Part:
    """Make a split; a fiftieth of the training labels are changed."""
    true_labels = np.array([label for _, label in pairs])
    changed = rng.random(len(pairs)) < (CHANGED_SHARE if split == "train" else 0)
    labels = np.where(changed, (true_labels + 1) % len(CLASSES), true_labels)
    groups = pd.DataFrame({"original_label": np.array(CLASSES, dtype=object)[true_labels]})
    ids = [f"{split}-{i:05d}" for i in range(len(pairs))]
    return Part(ids, labels, groups, [image for image, _ in pairs], CLASSES)


def _photographs(data_root: Path, train: int, held_out: int) -> Iterator[tuple[bytes, int]]:
    """Yield images and labels of CIFAR-10's splits, each in a fixed random order."""
    for name, size in (("train", train), ("test", held_out)):
        (file,) = (data_root / "cifar10").glob(f"{name}*.parquet")
        table = pq.read_table(file)
        image = table.column_names[0 if "label" not in table.column_names[0] else 1]
        label = next(column for column in table.column_names if "label" in column)
        order = np.random.default_rng(0).permutation(len(table))[:size]
        images, labels = table[image].to_pylist(), table[label].to_pylist()
        yield from ((images[i]["bytes"], labels[i]) for i in order)


def _patterns(rng: np.random.Generator, count: int) -> Iterator[tuple[bytes, int]]:
    """Yield noisy coarse patterns of each class, as PNGs of about three kilobytes, the size of a photograph's."""
    coarse = rng.integers(0, 256, (len(CLASSES), 4, 4, 3))
    for _ in range(count):
        label = int(rng.integers(len(CLASSES)))
        pixels = np.kron(coarse[label], np.ones((8, 8, 1))) + rng.normal(0, 20, (32, 32, 3))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
        yield buffer.getvalue(), label


def main() -> None:
    """Make the run and print its directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--evaluation", type=int, default=1_000)
    options = parser.parse_args()
    print(make_large_run(options.out, options.data_root, options.train, options.evaluation))


if __name__ == "__main__":
    main()
