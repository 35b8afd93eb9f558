"""Labelled datasets, opened from wherever they lie."""

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.decided import with_decisions
from attribution_core.datasets.listing import Unreadable
from attribution_core.datasets.open import KNOWN, open_dataset
from attribution_core.datasets.tensors import Statistics, as_tensors, common_size, pixel_statistics
from attribution_core.progress import Progress

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
    "with_decisions",
]
