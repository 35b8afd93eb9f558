"""Configurations and data for scoring the digits within seconds."""

import torch

import attribution_core as ac
from attribution_core.datasets import as_tensors, pixel_statistics
from attribution_core.scoring.score import ScoreConfig
from attribution_core.training import Recipe

QUICK = Recipe(epochs=2)


def quick(tmp_path, **options) -> ScoreConfig:
    """Return a quick configuration, by default without the map, which takes seconds to compile."""
    given = {"data": "digits", "out": tmp_path / "run", "hidden": (32,), "recipe": QUICK, "map": "off", **options}
    return ScoreConfig(**given)


def digits_as_scored(*parts: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the inputs and labels of splits of the digits, normalized as a run normalizes them."""
    splits = ac.open_dataset("digits")
    statistics = pixel_statistics(splits.train, size=None)
    return [as_tensors(getattr(splits, part), size=None, statistics=statistics) for part in parts]
