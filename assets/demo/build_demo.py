"""Build fashion-demo.parquet from the IDX files of Fashion-MNIST: python build_demo.py --idx DIRECTORY."""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from attribution_core.datasets.formats.idx import read_array
from attribution_core.datasets.partition import stratified_subset

DEMO = Path(__file__).parent / "fashion-demo.parquet"
SEED = 0
TRAIN, VALIDATION, TEST = 2000, 1000, 1000
WRONG_LABELS = 100
# The names that the authors of Fashion-MNIST use.
CLASS_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def build(idx: Path) -> pa.Table:
    """Draw the rows of the demo, the same ones each time.

    Args:
        idx: The folder with the four gzipped IDX files.

    Returns:
        Train, validation and test rows in the Hugging Face image convention.
    """
    images, labels = _read(idx, "train")
    chosen = stratified_subset(labels, TRAIN + VALIDATION, SEED)
    in_train = np.isin(np.arange(len(chosen)), stratified_subset(labels[chosen], TRAIN, SEED))
    train, validation = chosen[in_train], chosen[~in_train]
    test_images, test_labels = _read(idx, "t10k")
    test = stratified_subset(test_labels, TEST, SEED)
    tables = [
        _rows("train", "train", images, labels, train, _with_wrong_labels(labels[train])),
        _rows("validation", "train", images, labels, validation, labels[validation]),
        _rows("test", "t10k", test_images, test_labels, test, test_labels[test]),
    ]
    return pa.concat_tables(tables).replace_schema_metadata({"huggingface": json.dumps(_features())})


def _read(idx: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_array(idx / f"{prefix}-images-idx3-ubyte.gz", 3)
    return images, read_array(idx / f"{prefix}-labels-idx1-ubyte.gz", 1).astype(np.int64)


def _with_wrong_labels(labels: np.ndarray) -> np.ndarray:
    """Return the labels with ``WRONG_LABELS`` of them changed to another class, each other class equally likely."""
    generator = np.random.default_rng(SEED)
    rows = generator.choice(len(labels), WRONG_LABELS, replace=False)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + generator.integers(1, len(CLASS_NAMES), WRONG_LABELS)) % len(CLASS_NAMES)
    return noisy


def _rows(
    split: str, origin: str, images: np.ndarray, original: np.ndarray, chosen: np.ndarray, labels: np.ndarray
) -> pa.Table:
    """Return the rows of one split; an id names the IDX file and the row in it."""
    ids = [f"{origin}-{row:05d}" for row in chosen]
    encoded = [{"bytes": _png(images[row]), "path": f"{name}.png"} for row, name in zip(chosen, ids, strict=True)]
    return pa.table(
        {
            "id": ids,
            "image": pa.array(encoded, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "label": pa.array(labels, pa.int64()),
            "original_label": pa.array(original[chosen], pa.int64()),
            "split": [split] * len(chosen),
        }
    )


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _features() -> dict:
    """Return the columns as the ``datasets`` library describes them."""
    text = {"dtype": "string", "_type": "Value"}
    label = {"names": CLASS_NAMES, "_type": "ClassLabel"}
    features = {"id": text, "image": {"_type": "Image"}, "label": label, "original_label": label, "split": text}
    return {"info": {"features": features}}


def main() -> None:
    """Write the file beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idx", type=Path, required=True, help="folder with train-images-idx3-ubyte.gz and the others")
    pq.write_table(build(parser.parse_args().idx), DEMO, compression="zstd")
    print(f"{DEMO}: {DEMO.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
