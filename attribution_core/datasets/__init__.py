"""Labelled datasets, opened from wherever they lie."""

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.listing import Unreadable
from attribution_core.datasets.open import KNOWN, open_dataset
from attribution_core.datasets.progress import Progress
from attribution_core.datasets.tensors import Statistics, as_tensors, common_size, pixel_statistics

__all__ = [
    "KNOWN",
    "Dataset",
    "Progress",
    "Splits",
    "Statistics",
    "Unreadable",
    "as_tensors",
    "common_size",
    "open_dataset",
    "pixel_statistics",
]
