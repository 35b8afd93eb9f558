"""The datasets that open by name. Loads without torch, so that help and forms can list them."""

import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attribution_core.datasets.formats import parquet
from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import Examples, Listing

_LARGEST_DIGIT_VALUE = 16


@dataclass(frozen=True)
class BuiltinDataset:
    """A dataset that opens by name, with no download.

    Attributes:
        name: Name that opens it.
        description: Contents, in one sentence.
        license: License and its holder.
        source: Address of the original data.
        read: Function that lists its examples.
        notes: Sentences that a user should read before trusting a score.
    """

    name: str
    description: str
    license: str
    source: str
    read: Callable[[], Listing]
    notes: tuple[str, ...] = ()


def _read_demo() -> Listing:
    resource = importlib.resources.files("samplescope_assets") / "demo" / "fashion-demo.parquet"
    with importlib.resources.as_file(resource) as path:
        return parquet.read(path)


def _read_digits() -> Listing:
    from sklearn.datasets import load_digits  # importing scikit-learn takes a second, and few runs need it

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _LARGEST_DIGIT_VALUE)).astype(np.uint8)
    ids = [f"digits-{row:04d}" for row in range(len(pixels))]
    examples = Examples.without_groups(ids, [ArrayImage(image) for image in pixels], digits.target)
    return Listing({"train": examples}, [str(digit) for digit in range(10)])


BUILTIN_DATASETS = (
    BuiltinDataset(
        "fashion-demo",
        "4,000 images of clothing from Fashion-MNIST, 28 x 28, with 100 wrong labels planted among 2,000 for training",
        "MIT, Zalando SE",
        "https://github.com/zalandoresearch/fashion-mnist",
        _read_demo,
        (
            "100 of the 2,000 training labels (5%) were changed on purpose to another class drawn at random; the "
            "column original_label keeps the true ones.",
        ),
    ),
    BuiltinDataset(
        "digits",
        "1,797 handwritten digits, 8 x 8",
        "CC BY 4.0, Alpaydin and Kaynak (UCI)",
        "https://archive.ics.uci.edu/dataset/80",
        _read_digits,
    ),
)
