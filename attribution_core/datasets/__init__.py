"""Labelled datasets, opened from wherever they lie."""

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.decisions import with_decisions
from attribution_core.datasets.formats.torch_objects import TorchData
from attribution_core.datasets.listing import Unreadable
from attribution_core.datasets.open import BUILTIN_DATASETS, FORMATS, form_of, open_dataset, opens_by_name
from attribution_core.datasets.tensors import Statistics, as_tensors, common_size, pixel_statistics

__all__ = [
    "BUILTIN_DATASETS",
    "FORMATS",
    "Dataset",
    "Splits",
    "Statistics",
    "TorchData",
    "Unreadable",
    "as_tensors",
    "common_size",
    "form_of",
    "open_dataset",
    "opens_by_name",
    "pixel_statistics",
    "with_decisions",
]
