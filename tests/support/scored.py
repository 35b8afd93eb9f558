"""Configurations and data for scoring the digits within seconds."""

import shutil
from pathlib import Path

import torch

import attribution_core as ac
from attribution_core.datasets import as_tensors, pixel_statistics
from attribution_core.scoring.score import ScoreConfig
from attribution_core.training import Recipe

QUICK = Recipe(epochs=2)
DIGITS = 300  # training examples, of 1,257
# For tests of anything else: without what follows training.
ONLY_INFORMATION = {"contributions": "off", "sensitivity": "off", "influence": "off"}


def quick(tmp_path, **options) -> ScoreConfig:
    """Return a quick configuration, by default of few digits, and without the map."""
    given = {"data": "digits", "out": tmp_path / "run", "hidden": (16,), "recipe": QUICK, "map": "off", **options}
    return ScoreConfig(**{"max_train": DIGITS if given["data"] == "digits" else None, **given})


def copy_to_change(run: ac.Run, folder: Path) -> ac.Run:
    """Copy a finished run into a folder, so that a test may change it."""
    copied = Path(shutil.copytree(run.path, folder / "run"))
    (copied / "lock").unlink(missing_ok=True)
    return ac.Run.open(copied)


def digits_as_scored(*parts: str, max_train: int | None = DIGITS) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the inputs and labels of splits of the digits, drawn and normalized as a quick run does."""
    splits = ac.open_dataset("digits", max_train=max_train)
    statistics = pixel_statistics(splits.train, size=None)
    return [as_tensors(getattr(splits, part), size=None, statistics=statistics) for part in parts]
