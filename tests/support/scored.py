"""Runs of the digits that take seconds, for the tests of scoring."""

import torch

import attribution_core as ac
from attribution_core.datasets import as_tensors, pixel_statistics
from attribution_core.scoring.score import ScoreConfig
from attribution_core.training import Recipe

QUICK = Recipe(epochs=2)


def quick(tmp_path, **options) -> ScoreConfig:
    """The map, whose code is compiled for seconds, is off unless asked for."""
    given = {"data": "digits", "out": tmp_path / "run", "hidden": (32,), "recipe": QUICK, "map": "off", **options}
    return ScoreConfig(**given)


def digits_as_scored(*parts: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and labels of splits of the digits, as a run has them."""
    splits = ac.open_dataset("digits")
    statistics = pixel_statistics(splits.train, size=None)
    return [as_tensors(getattr(splits, part), size=None, statistics=statistics) for part in parts]
