"""Labeled datasets, opened from many formats. Names load on first use: reading the kinds of targets needs no torch."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from attribution_core.datasets.builtin import BUILTIN_DATASETS
    from attribution_core.datasets.dataset import Dataset, Splits
    from attribution_core.datasets.decisions import with_decisions
    from attribution_core.datasets.finding import FORMATS, format_of, list_examples, opens_by_name
    from attribution_core.datasets.formats.torch_objects import TorchData
    from attribution_core.datasets.listing import Unreadable
    from attribution_core.datasets.open import open_dataset
    from attribution_core.datasets.tensors import Statistics, as_tensors, common_size, pixel_statistics
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        None,
        {
            "builtin": ("BUILTIN_DATASETS",),
            "dataset": ("Dataset", "Splits"),
            "decisions": ("with_decisions",),
            "finding": ("FORMATS", "format_of", "list_examples", "opens_by_name"),
            "formats.torch_objects": ("TorchData",),
            "listing": ("Unreadable",),
            "open": ("open_dataset",),
            "tensors": ("Statistics", "as_tensors", "common_size", "pixel_statistics"),
        },
    )

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
    "format_of",
    "list_examples",
    "open_dataset",
    "opens_by_name",
    "pixel_statistics",
    "with_decisions",
]
